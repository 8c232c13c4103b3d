"""Which access keys the simulated API accepts."""

from collections.abc import Collection
from typing import Final

from watcher.simulator.options import Refusal

_PERSONAL_TOKENS: Final = ("dyn_pat_", "uak_")


def check_key(header: str | None, keys: Collection[str], foreign_keys: Collection[str]) -> None:
    """Checks an Authorization header against the keys of the app's project and of other projects.

    Raises:
        Refusal: 401 without a known key, 403 for another project's key or a personal access token.
    """
    scheme, _, key = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Refusal(401)
    if key in foreign_keys or key.startswith(_PERSONAL_TOKENS):
        raise Refusal(403)
    if key not in keys:
        raise Refusal(401)
