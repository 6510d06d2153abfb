"""The load of `lwmecps bench serve`, and its rows."""

import asyncio
import base64

import pytest

from lwmecps_gym.serve_app.bench.canned import answering
from lwmecps_gym.serve_app.bench.load import Plan, measure
from lwmecps_gym.serve_app.bench.serving import bench_serving, serving_table

REQUEST = base64.b64encode(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").decode()


def test_every_connection_is_kept_busy_and_answers_are_counted() -> None:
    with answering() as port:
        found = asyncio.run(measure(Plan("127.0.0.1", port, REQUEST, 4, 0.0, 0.3)))
    assert found.rps > 0
    assert 0 < found.p50_ms <= found.p99_ms


def test_a_server_that_refuses_is_not_measured() -> None:
    async def refused() -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            await measure(Plan("127.0.0.1", port, REQUEST, 1, 0.0, 5.0))

    with pytest.raises(RuntimeError, match="409 Conflict"):
        asyncio.run(refused())


@pytest.mark.ray
@pytest.mark.slow
def test_serve_and_uvicorn_are_measured_side_by_side(ray_session: None) -> None:
    result = bench_serving(1, 0.3, lambda text: None, scenario="tiny", plain_states=True)
    cells = [(row["server"], row["concurrency"], row["batch"]) for row in result["rows"]]
    assert cells == [
        (server, concurrency, batch)
        for batch in (1, 64)
        for concurrency in (1, 16)
        for server in ("uvicorn", "serve")
    ]
    assert all(row["rps"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in result["rows"])
    assert {row["ratio_to_uvicorn"] for row in result["rows"] if row["server"] == "uvicorn"} == {1}
    assert [row["concurrency"] for row in result["generator"]] == [1, 16]
    assert serving_table(result).row_count == 8
