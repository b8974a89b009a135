"""The PDS where all people of the made-up world live: their records, and whose handle is whose."""

from __future__ import annotations

from typing import Final

import msgspec

from feedgen.core.ids import is_did, is_nsid
from feedgen.simnet.httpd import Request, Response, Router, answer, failure
from feedgen.simnet.records import Record
from feedgen.simnet.world import World

MAX_RECORDS: Final = 100
RECORDS: Final = 50
_GONE: Final = {
    "takendown": "RepoTakendown",
    "suspended": "RepoSuspended",
    "deactivated": "RepoDeactivated",
}


class _Refused(Exception):
    def __init__(self, error: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.error, self.status = error, status


class Repositories:
    """The read side of com.atproto.repo and com.atproto.identity."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.router = Router(
            {
                "/xrpc/com.atproto.repo.listRecords": self._list_records,
                "/xrpc/com.atproto.repo.getRecord": self._get_record,
                "/xrpc/com.atproto.repo.describeRepo": self._describe_repo,
                "/xrpc/com.atproto.identity.resolveHandle": self.resolve_handle,
                "/xrpc/_health": self._health,
            }
        )

    async def handle(self, request: Request) -> Response:
        try:
            response = await self.router(request)
        except _Refused as refused:
            return failure(refused.status, refused.error, str(refused))
        assert isinstance(response, Response)
        return response

    async def resolve_handle(self, request: Request) -> Response:
        person = self._world.by_handle(request.first("handle").lower())
        if person is None or self._world.account(self._world.did(person))[1] in ("deleted", "takendown"):
            return failure(400, "InvalidRequest", "Unable to resolve handle")
        return answer({"did": self._world.did(person)})

    async def _list_records(self, request: Request) -> Response:
        did, collection = self._repo(request), _collection(request)
        limit = _limit(request)
        found = self._world.records(did, collection)  # in order of record key
        backwards = request.first("reverse") != "true"  # the usual order is newest first
        if cursor := request.first("cursor"):
            found = [r for r in found if (r.rkey < cursor if backwards else r.rkey > cursor)]
        page = (found[::-1] if backwards else found)[:limit]
        after = f',"cursor":{msgspec.json.encode(page[-1].rkey).decode()}' if len(found) > len(page) else ""
        body = b'{"records":[%b]%b}' % (b",".join(map(_record, page)), after.encode())
        return Response(body)

    async def _get_record(self, request: Request) -> Response:
        did, collection, rkey = self._repo(request), _collection(request), request.first("rkey")
        cid = request.first("cid")
        for record in self._world.records(did, collection):
            if record.rkey == rkey and cid in ("", record.cid):
                return Response(_record(record))
        raise _Refused("RecordNotFound", f"Could not locate record: at://{did}/{collection}/{rkey}")

    async def _describe_repo(self, request: Request) -> Response:
        did = self._repo(request)
        person = self._world.index(did)
        assert person is not None
        handle = self._world.handle(person)
        return answer({"handle": handle, "did": did, "didDoc": {"id": did}, "collections": [], "handleIsCorrect": True})

    async def _health(self, request: Request) -> Response:
        return answer({"version": "simnet"})

    def _repo(self, request: Request) -> str:
        name = request.first("repo")
        if not name:
            raise _Refused("InvalidRequest", 'Params must have the property "repo"')
        person = self._world.index(name) if is_did(name) else self._world.by_handle(name.lower())
        if person is None:
            raise _Refused("InvalidRequest", f"Could not find repo: {name[:200]}")
        did = self._world.did(person)
        active, status = self._world.account(did)
        if not active:
            if status not in _GONE:
                raise _Refused("InvalidRequest", f"Could not find repo: {did}")
            raise _Refused(_GONE[status], f"Repo has been {status}: {did}")
        return did


def _collection(request: Request) -> str:
    collection = request.first("collection")
    if not is_nsid(collection):
        raise _Refused("InvalidRequest", "collection must be a valid nsid")
    return collection


def _limit(request: Request) -> int:
    raw = request.first("limit", str(RECORDS))
    if not raw.isdigit() or not 1 <= int(raw) <= MAX_RECORDS:
        raise _Refused("InvalidRequest", f"limit must be between 1 and {MAX_RECORDS}")
    return int(raw)


def _record(record: Record) -> bytes:
    head = msgspec.json.encode({"uri": record.uri, "cid": record.cid})
    return b'%b,"value":%b}' % (head[:-1], record.value)
