"""The links of the chaos benchmark, over real sockets: they pass, are cut and mended, and refuse what nobody takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.chaos.network import Network
from core.ports import free_port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Network, int, asyncio.Server]]:
    target = free_port()
    network = Network()
    port = network.link("caller", "server", free_port(), target)
    network.start()
    server = await asyncio.start_server(echo, "127.0.0.1", target)
    try:
        yield network, port, server
    finally:
        await network.stop()
        server.close()


async def connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(5):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


def test_a_cut_link_is_silent_and_what_was_sent_meanwhile_arrives_when_it_is_mended() -> None:
    async def work() -> None:
        async with linked() as (network, port, _):
            reader, writer = await connected(port)
            writer.write(b"one")
            assert await reader.read(100) == b"one"
            network.cut("server")
            writer.write(b"two")
            late_reader, late_writer = await connected(port)
            late_writer.write(b"three")
            answers = [asyncio.create_task(each.read(100)) for each in (reader, late_reader)]
            done, _ = await asyncio.wait(answers, timeout=0.3)
            assert not done
            network.mend("server")
            async with asyncio.timeout(5):
                assert await asyncio.gather(*answers) == [b"two", b"three"]
            for each in (writer, late_writer):
                each.close()

    asyncio.run(work())


def test_a_link_refuses_while_nothing_listens_behind_it_and_accepts_again_by_itself() -> None:
    async def work() -> None:
        async with linked() as (network, port, server):
            reader, writer = await connected(port)
            server_port = server.sockets[0].getsockname()[1]
            server.close()
            network.refuse("server")
            with pytest.raises(ConnectionResetError):
                await reader.read(100)
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            async with await asyncio.start_server(echo, "127.0.0.1", server_port):
                _, again = await connected(port)
                again.close()

    asyncio.run(work())
