"""What becomes of one request in nginx, phase by phase: rewrite, access, content. Pure.

Facts: nginx's documentation, and its source where that is silent. What only the running nginx knows (a file, the
client, a script) is asked of `Choices`, which tries every answer.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from typing import Union

import msgspec

from certagent.domain.observations import Place, ServerAction
from certagent.domain.web_servers.nginx_locations import PASSING, Located, locate, split_match
from certagent.domain.web_servers.nginx_patterns import UndecidedError, search
from certagent.domain.web_servers.nginx_servers import Chosen
from certagent.domain.web_servers.nginx_syntax import Directive
from certagent.domain.web_servers.nginx_variables import Request, Variables

_MOST_CHANGES = 10
_MOST_ANSWERS = 24
_DEFAULT_FOLDER = "html"
_REDIRECTIONS = ("301", "302", "303", "307", "308")
_FILE_TESTS = ("-f", "-d", "-e", "-x", "!-f", "!-d", "!-e", "!-x")
_SCRIPTS = ("_by_lua", "_by_lua_block", "_by_lua_file")
_FOREIGN = ("js_content", "perl", "js_access", "auth_jwt", "passenger_enabled")
_ALWAYS_ANSWERING = {"stub_status": "200", "empty_gif": "200"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a request comes to. `status` is None where somebody else gives it, 0 where the connection is closed.

    `blocks` are those that it ended in, from `http` inwards. `passed` is what an upstream is asked: path and Host.
    """

    action: ServerAction
    status: int | None = None
    place: Place | None = None
    target: str | None = None
    host: Place | None = None
    blocks: tuple[Directive, ...] = ()
    passed: tuple[str, str] | None = None


class Choices:
    """Answers to what is not known: the first time one, and in later runs the others."""

    def __init__(self, taken: tuple[bool, ...] = ()) -> None:
        self._taken = list(taken)
        self._begun_with = len(taken)
        self._asked: list[str] = []

    def choose(self, question: str) -> bool:
        """The same answer to the same question."""
        if question not in self._asked:
            self._asked.append(question)
        number = self._asked.index(question)
        if number >= len(self._taken):
            self._taken.append(True)
        return self._taken[number]

    def others(self) -> Iterator[tuple[bool, ...]]:
        """How else this run's questions could have been answered."""
        for number in range(self._begun_with, len(self._taken)):
            yield (*self._taken[:number], False)


def possible_answers(http: Directive, chosen: Chosen, request: Request) -> list[Answer]:
    """Everything that may become of the request; one, where configuration and request decide."""
    pending: list[tuple[bool, ...]] = [()]
    found: dict[Answer, None] = {}
    while pending and len(found) < _MOST_ANSWERS:
        choices = Choices(pending.pop())
        found[_Run(http, chosen, request, choices).answer()] = None
        pending += choices.others()
    if pending:
        found[Answer(action=ServerAction.UNKNOWN)] = None
    return list(found)


_Step = Union[Answer, Callable[[], "_Step"]]  # noqa: UP007 -- a string cannot be joined by `|`


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
        self._raw = True  # the path is still as it was asked for
        self._is_located = True  # the location's prefix is a part of the path
        self._rewritten_by: Directive | None = None
        self._failed: Answer | None = None  # what an error page is shown for
        self._status = 0  # what takes the place of the next answer's status

    def answer(self) -> Answer:
        step: _Step = self._begin
        try:
            while not isinstance(step, Answer):
                step = step()
        except UndecidedError as unknown:
            return Answer(action=ServerAction.UNKNOWN, target=str(unknown), blocks=self._chain)
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
        internal = next(iter(self._inherited("internal")), None)
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
        except _BrokenOff:
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
                raise _BrokenOff
            if ended is not None:
                return ended
        return None

    def _if(self, block: Directive) -> _Step | None:
        if not self._holds(list(block.args)):
            return None
        outside = self._chain[:-1] if self._chain[-1].name == "if" else self._chain
        self._chain = (*outside, block)
        return self._run_script(block)

    def _set(self, one: Directive) -> None:
        try:
            self._variables.set(one.args[0].lstrip("$"), self._variables.evaluate(one.args[1]))
        except UndecidedError:
            self._variables.set(one.args[0].lstrip("$"), None)

    def _return(self, one: Directive) -> _Step:
        code = one.args[0] if one.args[0].isdigit() else "302"
        if code in _REDIRECTIONS:
            return self._fail(int(code), self._ending(ServerAction.REDIRECTS, one, one.args[-1], int(code)))
        action = ServerAction.DENIES if code in ("401", "403") else ServerAction.ANSWERS
        ending = self._ending(action, one, code, int(code))
        if code == "444":
            return self._ending(ServerAction.CLOSES, one, None, 0)
        if int(code) >= 400 and len(one.args) == 1:
            return self._fail(int(code), ending)
        return self._finish(ending)

    def _rewrite(self, one: Directive) -> _Step | None:
        match = search(one.args[0], self._variables.uri)
        if match is None:
            return None
        self._variables.remember(match)
        flag, replacement = one.args[2] if len(one.args) > 2 else "", one.args[1]
        self._is_internal = True
        is_redirect = flag in ("redirect", "permanent") or replacement.startswith(("http://", "https://", "$scheme"))
        if is_redirect:
            status = 301 if flag == "permanent" else 302
            return self._fail(status, self._ending(ServerAction.REDIRECTS, one, replacement, status))
        self._variables.uri = self._variables.evaluate(replacement).partition("?")[0]
        self._rewritten_by, self._raw, self._is_changed = one, False, flag != "break"
        if flag == "break":
            self._is_located = False
        if flag in ("last", "break"):
            raise _BrokenOff
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
        refusals: list[tuple[int, Directive]] = []
        is_any = any(one.args[:1] == ("any",) for one in self._inherited("satisfy"))
        for verdict in (self._by_address(), self._by_password(), self._by_subrequest()):
            if isinstance(verdict, bool) and verdict and is_any:
                refusals = []
                break
            if not isinstance(verdict, bool):
                refusals.append(verdict)
                if not is_any:
                    break
        if refusals:
            status, line = next((one for one in refusals if one[0] == 401), refusals[-1])
            return self._fail(status, self._ending(ServerAction.DENIES, line, None, status))
        return self._try_files

    def _by_address(self) -> tuple[int, Directive] | bool:
        """True: let in; False: no word about it; else the refusal."""
        for rule in self._inherited("allow", "deny"):
            if rule.args and self._is_client(rule.args[0]):
                return True if rule.name == "allow" else (403, rule)
        return False

    def _is_client(self, text: str) -> bool:
        if text == "all":
            return True
        if text == "unix:":
            return False
        if self._request.client is None:
            return self._choices.choose(f"the client is in {text}")
        try:
            return ip_address(self._request.client) in ip_network(text, strict=False)
        except ValueError:
            return False

    def _by_password(self) -> tuple[int, Directive] | bool:
        line = next(iter(self._inherited("auth_basic")), None)
        is_on = line is not None and line.args[:1] != ("off",) and self._inherited("auth_basic_user_file")
        return (401, line) if is_on and line is not None else False

    def _by_subrequest(self) -> tuple[int, Directive] | bool:
        line = next(iter(self._inherited("auth_request")), None)
        if line is None or line.args[:1] == ("off",):
            return False
        return True if not self._choices.choose(f"{line.args} refuses") else (401, line)

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
            folder = next(iter(self._inherited("root", "alias")), line)
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
        folder = next(iter(self._inherited("root", "alias")), None)
        target = folder.args[0] if folder is not None and folder.args else _DEFAULT_FOLDER
        status = 403 if self._variables.uri == "/" else 404
        return self._fail(status, self._ending(ServerAction.SERVES, folder, target, status))

    def _pass(self, line: Directive, location: Directive) -> _Step:
        url = self._variables.evaluate(line.args[0]) if line.name != "proxy_pass" else self._url(line.args[0])
        scheme, path, host = self._passed(line, location, url)
        address = url.partition("://")[2].partition("/")[0] if scheme else url
        server = self._upstream(address)
        target = f"{scheme}://{server}{_uri_of(url)}" if scheme else server
        status = self._request.upstreams.get(server)
        changed = self._rewritten_by if self._rewritten_by is not None and path != self._request.path else line
        action = ServerAction.PASSES if path == self._request.path else ServerAction.REWRITES
        ending = self._ending(action, changed, target, status)
        ending = msgspec.structs.replace(ending, host=self._other_host(line), passed=(path, host))
        is_intercepted = any(one.args[:1] == ("on",) for one in self._inherited("proxy_intercept_errors"))
        if status is not None and (status == 502 or (status >= 300 and is_intercepted)):
            return self._fail(status, msgspec.structs.replace(ending, passed=None))
        return self._finish(ending)

    def _url(self, text: str) -> str:
        return self._variables.evaluate(text)

    def _passed(self, line: Directive, location: Directive, url: str) -> tuple[str, str, str]:
        """Scheme, path and Host of what the upstream gets."""
        scheme, separator, rest = url.partition("://")
        if line.name != "proxy_pass" or not separator:
            return "", self._request.path if self._raw else self._variables.uri, ""
        uri = _uri_of(url)
        path = self._request.path if self._raw else self._variables.uri
        if uri and "$" in line.args[0]:
            path = uri
        elif uri:
            kind, prefix = split_match(location) if location.name == "location" else ("", "")
            cut = len(prefix) if self._is_located and kind in ("", "=", "^~") else 0
            path = uri + self._variables.uri[cut:]
        return scheme, path, self._host(rest.partition("/")[0].removesuffix(":80" if scheme == "http" else ":443"))

    def _host(self, default: str) -> str:
        headers = [one for one in self._inherited("proxy_set_header") if len(one.args) > 1]
        line = next((one for one in headers if one.args[0].lower() == "host"), None)
        if line is None:
            return default
        try:
            return self._variables.evaluate(line.args[1].replace("$proxy_host", default))
        except UndecidedError:
            return "$"

    def _other_host(self, passing: Directive) -> Place | None:
        """The line by which the Host becomes another: when none sets it, proxy_pass makes it where it leads."""
        if passing.name != "proxy_pass":
            return None
        headers = [one for one in self._inherited("proxy_set_header") if len(one.args) > 1]
        line = next((one for one in headers if one.args[0].lower() == "host"), None)
        if line is None:
            return passing.place
        return None if "$" in line.args[1] or line.args[1].lower() == self._request.name else line.place

    def _upstream(self, address: str) -> str:
        """The first server of an upstream block of that name, or the address itself."""
        for one in self._http.block:
            if one.name == "upstream" and one.args[:1] == (address,):
                servers = [inner.args for inner in one.block if inner.name == "server" and inner.args]
                return next((args[0] for args in servers if not {"down", "backup"} & set(args)), address)
        return address

    # --- endings --------------------------------------------------------------------------------------------------

    def _ending(
        self, action: ServerAction, line: Directive | None, target: str | None, status: int | None = None
    ) -> Answer:
        place = line.place if line is not None else None
        return Answer(action=action, status=status, place=place, target=target, blocks=self._chain)

    def _finish(self, ending: Answer) -> Answer:
        """An answer with content: an error page keeps the status of what it is shown for."""
        if self._status and ending.status != 0:
            return msgspec.structs.replace(ending, status=self._status)
        return ending

    def _fail(self, status: int, ending: Answer) -> _Step:
        """An answer without content: `error_page` may have another instead."""
        self._status = status
        pages = self._inherited("error_page") if self._changes and not self._is_error else []
        line = next((one for one in pages if str(status) in one.args[:-1]), None)
        if line is None:
            shown = 400 if status == 497 else status
            first = self._failed if self._failed is not None and ending.action is ServerAction.SERVES else None
            return msgspec.structs.replace(first or ending, status=shown, blocks=ending.blocks)
        self._is_error = not any(one.args[:1] == ("on",) for one in self._inherited("recursive_error_pages"))
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
            self._raw, self._is_located, self._is_changed = False, True, False
            return self._rewrite_server
        for one in self._server.block:
            if one.name == "location" and one.args == (target,):
                self._chain = (self._http, self._server, one)
                self._is_changed = False
                self._limit()
                return self._rewrite_location
        return self._fail(500, self._ending(ServerAction.ANSWERS, None, "500", 500))

    def _inherited(self, *names: str) -> Sequence[Directive]:
        """Those lines of the innermost block that has any."""
        for block in reversed(self._chain):
            if found := [one for one in block.block if one.name in names]:
                return found
        return []


class _BrokenOff(Exception):
    """The block's other statements are passed over."""


def _uri_of(url: str) -> str:
    rest = url.partition("://")[2]
    return rest[rest.index("/") :] if "/" in rest else ""
