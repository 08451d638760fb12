"""YAML of others', with its lines: as deep as people nest, so that reading it takes no longer than its length says."""

from typing import Any

MOST_DEPTH = 100
"""Open brackets. The parser's time grows with each of them, for every token that follows."""


def load_yaml_text(text: bytes) -> Any:
    """The document. Raises YAMLError, ValueError, RecursionError: whatever the parser raises for one that is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.scanner import RoundTripScanner, ScannerError

    class BoundedScanner(RoundTripScanner):
        """Gives up where no person has written."""

        def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803 - the parser's own
            if len(self.flow_context) >= MOST_DEPTH:
                raise ScannerError(None, None, "it is nested too deeply", self.reader.get_mark())
            super().fetch_flow_collection_start(TokenClass, to_push)

    yaml = YAML(typ="rt", pure=True)
    yaml.Scanner = BoundedScanner
    yaml.composer.warn_double_anchors = False  # which is good YAML
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        if error.problem_mark is not None:  # what is missing at the end is missing on the last line that there is
            error.problem_mark.line = min(error.problem_mark.line, text.rstrip().count(b"\n"))
        raise
