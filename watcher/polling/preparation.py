"""Prepares new requests for recording: masked, with their position in the run and a link."""

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from watcher.concurrency import run_cpu_bound
from watcher.config.models import AppConfig
from watcher.models import InputRequest, NewRequest, Run
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.masking import Masker

RequestsOfRun = tuple[Run, tuple[InputRequest, ...]]
"""A run, and those of its requests that are new."""


class RequestPreparation:
    """Prepares the requests of one app as its configuration says."""

    def __init__(self, config: AppConfig, masker: Masker) -> None:
        self._config = config
        self._masker = masker

    async def prepare_requests(self, found: Iterable[RequestsOfRun]) -> list[NewRequest]:
        """Returns the requests, prepared in a thread: masking a large one takes seconds."""
        wanted = [(run, requests) for run, requests in found if requests]
        if not wanted:
            return []
        return await run_cpu_bound(
            lambda: [prepared for run, requests in wanted for prepared in self._prepare_run(run, requests)]
        )

    def _prepare_run(self, run: Run, requests: Iterable[InputRequest]) -> list[NewRequest]:
        total = len(run.requests)
        positions = {
            (request.id, request.fingerprint): (n, total) for n, request in enumerate(run.requests, 1)
        }
        # Before anything is left out: what is masked in one place is masked in the others too.
        asked = [part for request in run.requests for part in (request.params, request.questions)]
        secrets = self._masker.values_to_mask([run.input, *asked])
        masked_input = None
        if self._config.include_input:
            masked_input = self._masker.json(normalize_json(run.input), secrets)
        return [
            self._prepare(
                replace(run, input=masked_input),
                self._masker.request(request, secrets),
                positions[request.id, request.fingerprint] if total > 1 else None,
            )
            for request in requests
        ]

    def _prepare(self, run: Run, masked: InputRequest, position: tuple[int, int] | None) -> NewRequest:
        return NewRequest(
            replace(
                run,
                status=self._masker.text(run.status),
                user_id=self._masker.text(run.user_id) if run.user_id else None,
                session_id=self._masker.text(run.session_id) if run.session_id else None,
                requests=(),
            ),
            masked if self._config.include_params else self._masker.withhold(masked),
            link(self._config, run.id, masked.id),
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
