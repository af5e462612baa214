"""The driver for pymodbus. Its command line and its lines are described in clients/README.md."""

import argparse
import asyncio

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TYPE = AsyncModbusTcpClient.DATATYPE
TYPES = {
    "i16": TYPE.INT16,
    "u16": TYPE.UINT16,
    "i32": TYPE.INT32,
    "u32": TYPE.UINT32,
    "i64": TYPE.INT64,
    "u64": TYPE.UINT64,
    "f32": TYPE.FLOAT32,
    "f64": TYPE.FLOAT64,
}
VALUES = [
    ("i16", -1234),
    ("u16", 54321),
    ("i32", -123456789),
    ("u32", 3123456789),
    ("i64", -1234567890123),
    ("u64", 1234567890123456),
    ("f32", 1013.25),
    ("f64", 2.718281828459045),
]


def say(*words):
    print(*words, flush=True)


def swapped(words):
    return [(word & 0xFF) << 8 | word >> 8 for word in words]


def registers():
    """A hundred for each order: ABCD, CDAB, BADC, DCBA."""
    words = []
    for order in range(4):
        block = []
        for name, value in VALUES:
            word_order = "little" if order in (1, 3) else "big"
            block += AsyncModbusTcpClient.convert_to_registers(value, TYPES[name], word_order)
        block = swapped(block) if order in (2, 3) else block
        words += block + [0] * (100 - len(block))
    return words


async def serve(unit):
    words = SimData(0, values=registers(), datatype=DataType.REGISTERS)
    coils = SimData(0, values=[at % 3 == 0 for at in range(10)], datatype=DataType.BITS)
    contacts = SimData(0, values=[at % 3 == 1 for at in range(10)], datatype=DataType.BITS)
    device = SimDevice(unit, simdata=([coils], [contacts], [words], [words]))
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    say("listening", server.transport.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def ask(client, unit, request):
    kind, *rest = request.split(":")
    start, *rest = rest
    if kind == "write":
        answer = await client.write_register(int(start), int(rest[0]), device_id=unit)
    else:
        read = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "input": client.read_input_registers,
            "holding": client.read_holding_registers,
        }.get(kind, client.read_input_registers)
        count = TYPES[kind].value[1] if kind in TYPES else int(rest[0])
        answer = await read(int(start), count=count, device_id=unit)
    if answer.isError():
        say("exception", answer.exception_code)
    elif kind == "write":
        say("written")
    elif kind in ("coil", "discrete"):
        say("bits", *(int(bit) for bit in answer.bits[:count]))
    elif kind in TYPES:
        say("value", repr(client.convert_from_registers(answer.registers, TYPES[kind])))
    else:
        say("words", *answer.registers)


async def read(port, unit, requests):
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0)
    assert await client.connect()
    for request in requests:
        await ask(client, unit, request)
    client.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve", "read"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--unit", type=int, required=True)
    parser.add_argument("requests", nargs="*")
    opts = parser.parse_intermixed_args()
    if opts.command == "serve":
        asyncio.run(serve(opts.unit))
    else:
        asyncio.run(read(opts.port, opts.unit, opts.requests))


if __name__ == "__main__":
    main()
