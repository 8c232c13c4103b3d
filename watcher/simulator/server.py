"""The simulated Runs API over HTTP: `/v1/…` is the default app, `/apps/{name}/v1/…` is any app."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

from aiohttp import web

from watcher.simulator.catalog import VERBS
from watcher.simulator.control import control, describe
from watcher.simulator.fault_responses import fault_response, json_response
from watcher.simulator.faults import Call, Fault
from watcher.simulator.options import Json, Refusal, error_body
from watcher.simulator.parsing import parse_input, parse_json, parse_query
from watcher.simulator.request_log import LoggedRequest, RequestLog
from watcher.simulator.state import Simulation

_CALLS: Final[Mapping[tuple[str, str], Call]] = {
    ("GET", "/v1/runs"): "list",
    ("GET", "/v1/runs/{run_id}"): "get",
    ("POST", "/v1/runs/{run_id}/input"): "input",
    ("POST", "/v1/runs/{run_id}/cancel"): "cancel",
}
_APP_PREFIX: Final = "/apps/{app}"
_CONTROL: Final = "/_control"
_INDEX: Final = "/"
_REQUEST_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LARGEST_BODY: Final = 4 * 1024 * 1024


class SimulatorServer:
    """A running simulator. The first of `apps` is the default app, which needs no path prefix.

    A control call that names an unknown app creates it, like the default one and empty.
    """

    def __init__(self, apps: Mapping[str, Simulation]) -> None:
        self.apps: dict[str, Simulation] = dict(apps)
        self.default = next(iter(self.apps))
        self.url = ""
        self._log = RequestLog()

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """The last 10,000 requests to the API, oldest first."""
        return self._log.requests

    def app_url(self, name: str) -> str:
        """Returns the base URL of an app."""
        return f"{self.url}/apps/{name}"

    def finished(self, call: Call = "list", *, app: str | None = None) -> int:
        """Returns how many calls of a kind to an app (None: the default one) have finished."""
        return self._log.finished(app or self.default, call)

    async def wait_for(self, condition: Callable[[], bool], *, within: float = 5.0) -> None:
        """Returns as soon as a condition holds; it is evaluated whenever a request begins or finishes.

        Raises:
            TimeoutError: the condition did not hold within `within` seconds.
        """
        await self._log.wait_for(condition, within)

    async def wait_for_calls(
        self, total: int, call: Call = "list", *, app: str | None = None, within: float = 5.0
    ) -> None:
        """Returns as soon as `total` calls of a kind to an app have finished since the start.

        Raises:
            TimeoutError: they have not within `within` seconds.
        """
        await self.wait_for(lambda: self.finished(call, app=app) >= total, within=within)

    def application(self) -> web.Application:
        """Returns the web application that serves this simulator."""
        application = web.Application(middlewares=[self._serve], client_max_size=_LARGEST_BODY)
        for method, path in _CALLS:
            application.router.add_route(method, path, self._answer)
            application.router.add_route(method, _APP_PREFIX + path, self._answer)
        application.router.add_get(_INDEX, self._show_index, allow_head=False)
        application.router.add_get(f"{_CONTROL}/requests", self._show_requests, allow_head=False)
        application.router.add_get(f"{_CONTROL}/state", self._show_state, allow_head=False)
        application.router.add_post(f"{_CONTROL}/{{verb}}", self._control)
        return application

    @web.middleware
    async def _serve(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        async def normal() -> web.Response:
            return await self._without_exceptions(request, handler)

        if request.path == _INDEX or request.path.startswith(_CONTROL):
            return await normal()
        name, call = self._aim(request)
        number = self._log.begin(_logged(request, name, call))
        status: int | None = None
        try:
            fault = self._fault(request, name, call)
            if fault is None:
                response: web.StreamResponse = await normal()
            else:
                response = await fault_response(fault, request, normal, time.time())
            status = None if request.transport is None or request.transport.is_closing() else response.status
            return response
        finally:
            self._log.finish(number, name, call, status)

    async def _without_exceptions(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.Response:
        try:
            response = await handler(request)
            assert isinstance(response, web.Response)
            return response
        except Refusal as refusal:
            return json_response(self._envelope(request, refusal), refusal.status)
        except web.HTTPException as error:
            allowed = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
            return json_response(error_body(error.status), error.status, allowed)

    def _envelope(self, request: web.Request, refusal: Refusal) -> Json:
        simulation = None if request.path.startswith(_CONTROL) else self.apps.get(self._aim(request)[0])
        form = simulation.options.error_details if simulation else "object"
        if refusal.details is None or form == "absent":
            return error_body(refusal.status)
        as_text = "; ".join(f"{name} {problem}" for name, problem in refusal.details.items())
        return error_body(refusal.status, refusal.details if form == "object" else as_text)

    def _aim(self, request: web.Request) -> tuple[str, Call]:
        """Returns the app and the call that a request addresses."""
        resource = request.match_info.route.resource
        path = resource.canonical.removeprefix(_APP_PREFIX) if resource else ""
        return request.match_info.get("app", self.default), _CALLS.get((request.method, path), "other")

    def _fault(self, request: web.Request, name: str, call: Call) -> Fault | None:
        if name not in self.apps:
            return None
        page = request.query.get("page", "1")
        return self.apps[name].faults.take(call, page, request.match_info.get("run_id"))

    async def _answer(self, request: web.Request) -> web.Response:
        name, call = self._aim(request)
        if name not in self.apps:
            raise Refusal(404)
        simulation = self.apps[name]
        simulation.authorize(request.headers.get("Authorization"))
        run_id = request.match_info.get("run_id", "")
        match call:
            case "list":
                query = parse_query(request.query.items(), simulation.options)
                return json_response(simulation.list_runs(query))
            case "get":
                return json_response(simulation.get_run(run_id))
            case "input":
                body = parse_json(request.content_type, await _text(request))
                simulation.answer(run_id, **asdict(parse_input(body, simulation.options)))
                return json_response({"message": "ok"})
            case _:
                return json_response({"message": simulation.cancel(run_id)})

    async def _control(self, request: web.Request) -> web.Response:
        arguments = parse_json("application/json", await _text(request) or "{}")
        if not isinstance(arguments, dict):
            raise Refusal(400, {"body": "must be an object"})
        name = arguments.pop("app", self.default)
        if not isinstance(name, str):
            raise Refusal(400, {"app": "must be a text"})
        if name not in self.apps:
            self.apps[name] = self.apps[self.default].sibling()
        return json_response({"result": control(self.apps[name], request.match_info["verb"], arguments)})

    async def _show_index(self, _: web.Request) -> web.Response:
        waiting = [
            {"app": name, "run_id": run.id, "request_id": ask.id, "type": ask.type, "prompt": ask.prompt}
            for name, simulation in self.apps.items()
            for run in simulation.runs
            for ask in run.pending
        ]
        index = {
            "help": "POST a JSON object of arguments; those in brackets are optional, as is app everywhere",
            "waiting": waiting,
            "api": [f"{method} {path}" for method, path in _CALLS],
            "control": {
                f"GET {_CONTROL}/state": "[app]: the state of an app",
                f"GET {_CONTROL}/requests": "[app] [after]: the last requests to the API",
                **{f"POST {_CONTROL}/{name}": str(verb) for name, verb in VERBS.items()},
            },
        }
        return web.Response(
            # A lone surrogate becomes an escape, as JSON writes it.
            body=json.dumps(index, indent=2, ensure_ascii=False).encode(errors="backslashreplace") + b"\n",
            content_type="application/json",
        )

    async def _show_state(self, request: web.Request) -> web.Response:
        name = request.query.get("app", self.default)
        if name not in self.apps:
            raise Refusal(404, {"app": "is unknown"})
        return json_response(describe(self.apps[name]))

    async def _show_requests(self, request: web.Request) -> web.Response:
        app = request.query.get("app")
        after = request.query.get("after", "0")
        if not _REQUEST_NUMBER.fullmatch(after):
            raise Refusal(400, {"after": "must be the number of a request"})
        shown = [
            asdict(served)
            for served in self.requests
            if app in (None, served.app) and served.number > int(after)
        ]
        return json_response(shown)


@asynccontextmanager
async def serve(
    simulations: Simulation | Mapping[str, Simulation], host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[SimulatorServer]:
    """Serves one app (named `default`) or several by name until the block ends; port 0 picks a free port.

    Raises:
        OSError: the address is in use or not of this machine.
    """
    apps = {"default": simulations} if isinstance(simulations, Simulation) else simulations
    server = SimulatorServer(apps)
    runner = web.AppRunner(
        server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port = runner.addresses[0][:2]
        shown_host = f"[{bound_host}]" if ":" in bound_host else bound_host
        server.url = f"http://{shown_host}:{bound_port}"
        yield server
    finally:
        await runner.cleanup()


def _logged(request: web.Request, app: str, call: Call) -> LoggedRequest:
    return LoggedRequest(
        number=0,
        app=app,
        call=call,
        method=request.method,
        path=request.path,
        query=tuple(request.query.items()),
        headers={name.lower(): value for name, value in request.headers.items()},
        at=time.time(),
        monotonic=asyncio.get_running_loop().time(),
    )


async def _text(request: web.Request) -> str:
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError:
        raise Refusal(400, {"body": "must be UTF-8"}) from None
