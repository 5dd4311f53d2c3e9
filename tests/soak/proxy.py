"""A proxy between two peers that delays, cuts and corrupts, by chance."""

import asyncio
import contextlib
import random
import threading


class Proxy:
    """Listens on a free port of the loopback and leads to another; faults can be switched off."""

    def __init__(self, port, seed, cut, delay, corrupt=0.0):
        self.behind, self.random = port, random.Random(seed)
        self.chances = {"cut": cut, "delay": delay, "corrupt": corrupt}
        self.faults = True
        self.counted = {"connections": 0, "cut": 0, "delay": 0, "corrupt": 0, "refused": 0}
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self.run, args=(ready,), daemon=True).start()
        ready.wait()

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        # Connections that end badly are its trade.
        self.loop.set_exception_handler(lambda loop, context: None)
        server = self.loop.run_until_complete(asyncio.start_server(self.connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def plan(self):
        """The faults of one connection: where it is cut and corrupted, how it is slowed."""
        drawn = {kind for kind, chance in self.chances.items() if self.faults and self.random.random() < chance}
        for kind in drawn:
            self.counted[kind] += 1
        # Some in the negotiation, most in the data.
        place = lambda: int(10 ** self.random.uniform(1, 6))
        return {
            "cut": place() if "cut" in drawn else None,
            "corrupt": place() if "corrupt" in drawn else None,
            "delay": self.random.uniform(0.001, 0.05) if "delay" in drawn else 0,
        }

    async def connection(self, reader, writer):
        self.counted["connections"] += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        except OSError:
            self.counted["refused"] += 1
            writer.transport.abort()
            return
        plan = self.plan()
        ends = [writer, far_writer]
        await asyncio.gather(
            self.copy(reader, far_writer, plan, ends, outward=True),
            self.copy(far_reader, writer, plan, ends, outward=False),
        )
        for end in ends:
            end.transport.abort()

    async def copy(self, source, target, plan, ends, outward):
        passed = 0
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 15):
                if plan["delay"]:
                    await asyncio.sleep(plan["delay"])
                if outward and plan["cut"] is not None and passed + len(data) > plan["cut"]:
                    target.write(data[: max(0, plan["cut"] - passed)])
                    await target.drain()
                    for end in ends:
                        end.transport.abort()
                    return
                # Answers are left alone: what a sender takes for Success must be one.
                if outward and plan["corrupt"] is not None and passed <= plan["corrupt"] < passed + len(data):
                    changed = bytearray(data)
                    changed[plan["corrupt"] - passed] ^= 1 << self.random.randrange(8)
                    data = bytes(changed)
                passed += len(data)
                target.write(data)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()
