"""New requests as they are recorded: masked, cut, with their place in the run and a link."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from watcher.concurrency import run_cpu_bound
from watcher.config.models import AppConfig
from watcher.models import InputRequest, NewRequest, Run
from watcher.runs_api.parser import normalize_json
from watcher.sanitize.masking import Masker


class RequestPreparation:
    """Shows requests of one app as its configuration wants it."""

    def __init__(self, config: AppConfig, masker: Masker) -> None:
        self._config = config
        self._masker = masker

    async def prepare_requests(self, new: Iterable[tuple[Run, tuple[InputRequest, ...]]]) -> list[NewRequest]:
        """Returns new requests as they are recorded; masking what is large takes a while."""
        wanted = [(run, requests) for run, requests in new if requests]
        if not wanted:
            return []
        return await run_cpu_bound(
            lambda: [sighting for run, requests in wanted for sighting in self._placed(run, requests)]
        )

    def _placed(self, run: Run, requests: Iterable[InputRequest]) -> list[NewRequest]:
        together = len(run.requests)
        places = {(request.id, request.fingerprint): place for place, request in enumerate(run.requests, 1)}
        return [
            self._new_request(
                run, request, (places[request.id, request.fingerprint], together) if together > 1 else None
            )
            for request in requests
        ]

    def _new_request(self, run: Run, request: InputRequest, position: tuple[int, int] | None) -> NewRequest:
        # Before anything is left out: what was masked there is masked in the prompt too.
        secret_inputs = self._masker.values_to_mask(run.input)
        shown = self._masker.request(request, secret_inputs)
        shown_input = None
        if self._config.include_input:
            shown_input = self._masker.json(
                normalize_json(run.input), self._masker.values_to_mask(request.params)
            )
        return NewRequest(
            replace(
                run,
                status=self._masker.text(run.status),
                user_id=self._masker.text(run.user_id) if run.user_id else None,
                session_id=self._masker.text(run.session_id) if run.session_id else None,
                input=shown_input,
                requests=(),
            ),
            shown if self._config.include_params else replace(shown, params=None),
            link(self._config, run.id, request.id),
            position,
        )


def link(config: AppConfig, run_id: str, request_id: str) -> str | None:
    """Returns the link to a request by the app's template, with every value URL-encoded."""
    if config.link_template is None:
        return None
    values = {"{app}": config.name, "{run_id}": run_id, "{request_id}": request_id}
    text = config.link_template
    for placeholder, value in values.items():
        text = text.replace(placeholder, quote(value, safe=""))
    return text
