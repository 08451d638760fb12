"""What becomes of one request in nginx, phase by phase: rewrite, access, content. Pure.

Facts: nginx's documentation, and its source where that is silent. What only the running nginx knows (a file, the
client, a script) is asked of `Choices`, which tries every answer.
"""

from collections.abc import Callable
from typing import Union

import msgspec

from certagent.domain.observations import ServerAction
from certagent.domain.web_servers.nginx_access import find_refusal
from certagent.domain.web_servers.nginx_answers import BrokenOff, Choices, RequestResult
from certagent.domain.web_servers.nginx_locations import PASSING, Located, inherited, locate
from certagent.domain.web_servers.nginx_patterns import UndecidedError, search
from certagent.domain.web_servers.nginx_servers import Chosen
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.domain.web_servers.nginx_upstreams import AskedPath, find_other_host, pass_on
from certagent.domain.web_servers.nginx_variables import Request, Variables

_MOST_CHANGES = 10
_MOST_ANSWERS = 24
_DEFAULT_FOLDER = "html"
_REDIRECTIONS = ("301", "302", "303", "307", "308")
_FILE_TESTS = ("-f", "-d", "-e", "-x", "!-f", "!-d", "!-e", "!-x")
_SCRIPTS = ("_by_lua", "_by_lua_block", "_by_lua_file")
_FOREIGN = ("js_content", "perl", "js_access", "auth_jwt", "passenger_enabled")
_ALWAYS_ANSWERING = {"stub_status": "200", "empty_gif": "200"}


def possible_answers(http: Directive, chosen: Chosen, request: Request) -> list[RequestResult]:
    """Everything that may become of the request; one, where configuration and request decide."""
    pending: list[tuple[bool, ...]] = [()]
    found: dict[RequestResult, None] = {}
    while pending and len(found) < _MOST_ANSWERS:
        choices = Choices(pending.pop())
        found[_Run(http, chosen, request, choices).answer()] = None
        pending += choices.others()
    if pending:
        found[RequestResult(action=ServerAction.UNKNOWN)] = None
    return list(found)


_Step = Union[RequestResult, Callable[[], "_Step"]]  # noqa: UP007 -- a string cannot be joined by `|`


class _Run:
    """One way through the phases. A step is a method that gives the next one, or the answer."""

    def __init__(self, http: Directive, chosen: Chosen, request: Request, choices: Choices) -> None:
        self._http = http
        self._server = chosen.server
        self._chosen = chosen
        self._request = request
        self._choices = choices
        self._variables = Variables(request, http.block, chosen.server)
        self._variables.remember(chosen.match)
        self._chain: tuple[Directive, ...] = (http, chosen.server)
        self._changes = _MOST_CHANGES + 1
        self._is_internal = self._is_changed = self._is_error = False
        self._path = AskedPath(request.path)
        self._rewritten_by: Directive | None = None
        self._failed: RequestResult | None = None  # what an error page is shown for
        self._status = 0  # what takes the place of the next answer's status

    def answer(self) -> RequestResult:
        step: _Step = self._begin
        try:
            while not isinstance(step, RequestResult):
                step = step()
        except UndecidedError as unknown:
            return RequestResult(action=ServerAction.UNKNOWN, target=str(unknown), blocks=self._chain)
        return step

    def _begin(self) -> _Step:
        ssl = self._chosen.listener_with("ssl")
        if ssl is not None:
            return self._fail(497, self._ending(ServerAction.ANSWERS, ssl, "400"))
        return self._rewrite_server

    def _rewrite_server(self) -> _Step:
        self._chain = (self._http, self._server)
        return self._script(self._server) or self._find_location

    def _find_location(self) -> _Step:
        self._is_changed = False
        found = locate(self._server.block, self._variables.uri)
        for match in found.matches:
            self._variables.remember(match)
        return self._enter(found)

    def _enter(self, found: Located) -> _Step:
        self._chain = (self._http, self._server, *found.locations)
        internal = next(iter(inherited(self._chain, "internal")), None)
        if internal is not None and not self._is_internal:
            return self._fail(404, self._ending(ServerAction.ANSWERS, internal, "404"))
        self._limit()
        if found.is_folder:
            passing = next(one for one in self._chain[-1].block if one.name in PASSING)
            return self._ending(ServerAction.REDIRECTS, passing, f"{self._variables.uri}/", 301)
        return self._rewrite_location

    def _limit(self) -> None:
        """`limit_except`: a block of its own for the other methods."""
        for one in self._chain[-1].block:
            methods = {word.upper() for word in one.args} if one.name == "limit_except" else set()
            allowed = methods | ({"HEAD"} if "GET" in methods else set())
            if methods and self._request.method not in allowed:
                self._chain = (*self._chain, one)
                return

    def _rewrite_location(self) -> _Step:
        location = next((one for one in reversed(self._chain) if one.name not in ("if", "limit_except")), self._server)
        if location is not self._server and self._chain[-1].name != "limit_except":
            ended = self._script(location)
            if ended is not None:
                return ended
        if self._is_changed:
            self._changes -= 1
            if not self._changes:
                return self._fail(500, self._ending(ServerAction.ANSWERS, self._rewritten_by, "500"))
            return self._find_location
        return self._access

    # --- rewrite ------------------------------------------------------------------------------------------------

    def _script(self, block: Directive) -> _Step | None:
        """The block's statements of the rewrite module, in their order; None where they come to no end."""
        try:
            return self._run_script(block)
        except BrokenOff:
            return None

    def _run_script(self, block: Directive) -> _Step | None:
        for one in block.block:
            ended: _Step | None = None
            if one.name.endswith(_SCRIPTS) and one.name.startswith(("rewrite", "access", "content", "server_rewrite")):
                raise UndecidedError(f"what {one.name} does")
            if one.name == "if":
                ended = self._if(one)
            elif one.name == "set" and len(one.args) > 1:
                self._set(one)
            elif one.name == "return" and one.args:
                ended = self._return(one)
            elif one.name == "rewrite" and len(one.args) > 1:
                ended = self._rewrite(one)
            elif one.name == "break":
                self._is_changed = False
                raise BrokenOff
            if ended is not None:
                return ended
        return None

    def _if(self, block: Directive) -> _Step | None:
        if not self._holds(list(block.args)):
            return None
        outside = self._chain[:-1] if self._chain[-1].name == "if" else self._chain
        self._chain = (*outside, block)
        return self._run_script(block)

    def _set(self, line: Directive) -> None:
        try:
            self._variables.set(line.args[0].lstrip("$"), self._variables.evaluate(line.args[1]))
        except UndecidedError:
            self._variables.set(line.args[0].lstrip("$"), None)

    def _return(self, line: Directive) -> _Step:
        code = line.args[0] if line.args[0].isdigit() else "302"
        if code in _REDIRECTIONS:
            return self._fail(int(code), self._ending(ServerAction.REDIRECTS, line, line.args[-1], int(code)))
        action = ServerAction.DENIES if code in ("401", "403") else ServerAction.ANSWERS
        ending = self._ending(action, line, code, int(code))
        if code == "444":
            return self._ending(ServerAction.CLOSES, line, None, 0)
        if int(code) >= 400 and len(line.args) == 1:
            return self._fail(int(code), ending)
        return self._finish(ending)

    def _rewrite(self, line: Directive) -> _Step | None:
        match = search(line.args[0], self._variables.uri)
        if match is None:
            return None
        self._variables.remember(match)
        flag, replacement = line.args[2] if len(line.args) > 2 else "", line.args[1]
        self._is_internal = True
        is_redirect = flag in ("redirect", "permanent") or replacement.startswith(("http://", "https://", "$scheme"))
        if is_redirect:
            status = 301 if flag == "permanent" else 302
            return self._fail(status, self._ending(ServerAction.REDIRECTS, line, replacement, status))
        self._variables.uri = self._variables.evaluate(replacement).partition("?")[0]
        self._rewritten_by, self._path.is_raw, self._is_changed = line, False, flag != "break"
        if flag == "break":
            self._path.is_located = False
        if flag in ("last", "break"):
            raise BrokenOff
        return None

    def _holds(self, words: list[str]) -> bool:
        words[0] = words[0].removeprefix("(")
        words[-1] = words[-1].removesuffix(")")
        words = [word for number, word in enumerate(words) if word or 0 < number < len(words) - 1]
        if words and words[0] in _FILE_TESTS:
            return self._exists(words[1] if len(words) > 1 else "") is not words[0].startswith("!")
        question = " ".join(words)
        try:
            value = self._variables.evaluate(words[0])
            if len(words) < 3:
                return value not in ("", "0")
            operator, operand = words[1], words[2]
            if operator in ("=", "!="):
                return (value == self._variables.evaluate(operand)) is (operator == "=")
            match = search(operand, value, ignore_case=operator.endswith("*"))
        except UndecidedError:
            return self._choices.choose(question)
        self._variables.remember(match)
        return (match is not None) is not operator.startswith("!")

    def _exists(self, path: str) -> bool:
        if self._request.exists is not None:
            return path in self._request.exists
        try:
            path = self._variables.evaluate(path.replace("$request_filename", "$uri").replace("$document_root", ""))
        except UndecidedError:
            return self._choices.choose(f"exists {path}")
        return False if self._request.path in path else self._choices.choose(f"exists {path}")

    # --- access ---------------------------------------------------------------------------------------------------

    def _access(self) -> _Step:
        refusal = find_refusal(self._chain, self._request, self._choices)
        if refusal is not None:
            status, line = refusal
            return self._fail(status, self._ending(ServerAction.DENIES, line, None, status))
        return self._try_files

    # --- content --------------------------------------------------------------------------------------------------

    def _try_files(self) -> _Step:
        line = next((one for one in self._chain[-1].block if one.name == "try_files" and len(one.args) > 1), None)
        if line is None:
            return self._content
        for word in line.args[:-1]:
            if self._may_be_file(word):
                self._variables.uri = self._variables.evaluate(word)
                return self._content
        last = line.args[-1]
        if last.startswith("="):
            folder = next(iter(inherited(self._chain, "root", "alias")), line)
            ending = self._ending(ServerAction.SERVES, folder, folder.args[0], int(last[1:]))
            return self._fail(int(last[1:]), ending)
        return self._go_to(last)

    def _may_be_file(self, word: str) -> bool:
        path = self._variables.evaluate(word)
        if self._request.exists is not None:
            return path in self._request.exists
        name = self._request.path.rpartition("/")[2]
        return False if name in path else self._choices.choose(f"there is a file {path}")

    def _content(self) -> _Step:
        block = self._chain[-1]
        if any(one.name in _FOREIGN for one in block.block):
            raise UndecidedError("what a script does")
        outside = next(one for one in reversed(self._chain) if one.name not in ("if", "limit_except"))
        for candidate in (block, outside):
            passing = next((one for one in candidate.block if one.name in PASSING and one.args), None)
            if passing is not None:
                return self._pass(passing, outside)
        for one in block.block:
            if one.name in _ALWAYS_ANSWERING:
                return self._finish(self._ending(ServerAction.ANSWERS, one, "200", 200))
        return self._serve()

    def _serve(self) -> _Step:
        folder = next(iter(inherited(self._chain, "root", "alias")), None)
        target = folder.args[0] if folder is not None and folder.args else _DEFAULT_FOLDER
        status = 403 if self._variables.uri == "/" else 404
        return self._fail(status, self._ending(ServerAction.SERVES, folder, target, status))

    def _pass(self, line: Directive, location: Directive) -> _Step:
        passing = pass_on(line, location, self._chain, self._variables, self._path)
        status = self._request.upstreams.get(passing.server)
        is_same = passing.path == self._request.path
        changed = self._rewritten_by if self._rewritten_by is not None and not is_same else line
        action = ServerAction.PASSES if is_same else ServerAction.REWRITES
        ending = msgspec.structs.replace(
            self._ending(action, changed, passing.target, status),
            host=find_other_host(self._chain, line, self._request.name),
            passed=(passing.path, passing.host),
        )
        is_intercepted = any(
            setting.args[:1] == ("on",) for setting in inherited(self._chain, "proxy_intercept_errors")
        )
        if status is not None and (status == 502 or (status >= 300 and is_intercepted)):
            return self._fail(status, msgspec.structs.replace(ending, passed=None))
        return self._finish(ending)

    # --- endings --------------------------------------------------------------------------------------------------

    def _ending(
        self, action: ServerAction, line: Directive | None, target: str | None, status: int | None = None
    ) -> RequestResult:
        place = line.place if line is not None else None
        return RequestResult(action=action, status=status, place=place, target=target, blocks=self._chain)

    def _finish(self, ending: RequestResult) -> RequestResult:
        """An answer with content: an error page keeps the status of what it is shown for."""
        if self._status and ending.status != 0:
            return msgspec.structs.replace(ending, status=self._status)
        return ending

    def _fail(self, status: int, ending: RequestResult) -> _Step:
        """An answer without content: `error_page` may have another instead."""
        self._status = status
        pages = inherited(self._chain, "error_page") if self._changes and not self._is_error else []
        line = next((one for one in pages if str(status) in one.args[:-1]), None)
        if line is None:
            shown = 400 if status == 497 else status
            first = self._failed if self._failed is not None and ending.action is ServerAction.SERVES else None
            return msgspec.structs.replace(first or ending, status=shown, blocks=ending.blocks)
        self._is_error = not any(one.args[:1] == ("on",) for one in inherited(self._chain, "recursive_error_pages"))
        self._failed = ending
        overwrite = next((word[1:] for word in line.args[1:-1] if word.startswith("=")), None)
        if overwrite is not None:
            self._status = int(overwrite or 0)
        target = self._variables.evaluate(line.args[-1])
        if target.startswith(("/", "@")):
            return self._go_to(target)
        code = int(overwrite) if overwrite in _REDIRECTIONS else 302
        return self._ending(ServerAction.REDIRECTS, line, line.args[-1], code)

    def _go_to(self, target: str) -> _Step:
        """An internal redirect: to a path, from the server on; to a named location, that alone."""
        self._changes -= 1
        if not self._changes:
            return self._ending(ServerAction.ANSWERS, None, "500", 500)
        self._is_internal = True
        if not target.startswith("@"):
            self._variables.uri = self._variables.evaluate(target).partition("?")[0]
            self._path.is_raw, self._path.is_located, self._is_changed = False, True, False
            return self._rewrite_server
        for one in self._server.block:
            if one.name == "location" and one.args == (target,):
                self._chain = (self._http, self._server, one)
                self._is_changed = False
                self._limit()
                return self._rewrite_location
        return self._fail(500, self._ending(ServerAction.ANSWERS, None, "500", 500))
