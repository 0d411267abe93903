"""The stand-in driver's functions about streams, events and graphs."""

from __future__ import annotations

from ctypes import c_float, c_int, c_size_t, c_void_p

from stand_in.cards import CONTEXT, INVALID_HANDLE, cards, function, put
from stand_in.queues import CAPTURED_EVENT, NOT_READY, UNSUPPORTED, DriverError, Event, Graph, Stream


@function("pu")
def cuStreamCreate(found, flags):
    stream = Stream(cards.device(), blocking=not flags & 1)
    handle = cards.new(stream)
    cards.queues.streams[handle] = stream
    put(found, c_void_p, handle)


@function("p")
def cuStreamDestroy(stream):
    if cards.get(stream, Stream).capture is not None:
        raise DriverError(UNSUPPORTED, "a stream that is being captured is destroyed")
    cards.forget(stream, Stream)
    del cards.queues.streams[stream]


@function("p")
def cuStreamSynchronize(stream):
    cards.queues.finish_stream(cards.stream(stream))


@function("ppu")
def cuStreamWaitEvent(stream, event, flags):
    cards.queues.wait(cards.stream(stream), cards.get(event, Event))


@function("pp")
def cuStreamIsCapturing(stream, status):
    put(status, c_int, int(cards.stream(stream).capture is not None))


@function("pi")
def cuStreamBeginCapture(stream, mode):
    cards.queues.begin(cards.stream(stream), mode)


@function("pp")
def cuStreamEndCapture(stream, graph):
    put(graph, c_void_p, 0)
    put(graph, c_void_p, cards.new(cards.queues.end(cards.stream(stream))))


@function("ppp")
def cuStreamGetCtx(stream, context, green):
    put(context, c_void_p, CONTEXT + cards.stream(stream).device)


@function("pps")
def cuGraphInstantiateWithFlags(executable, graph, flags):
    cards.queues.unsafe("a graph is instantiated")
    put(executable, c_void_p, cards.new(Graph(cards.get(graph, Graph).nodes)))


@function("p")
def cuGraphDestroy(graph):
    cards.forget(graph, Graph)


@function("p")
def cuGraphExecDestroy(executable):
    cards.queues.finish(cards.forget(executable, Graph).last)


@function("pp")
def cuGraphLaunch(executable, stream):
    cards.queues.launch(cards.get(executable, Graph), cards.stream(stream))


@function("ppp")
def cuGraphGetNodes(graph, nodes, count_of):
    put(count_of, c_size_t, len(cards.get(graph, Graph).nodes))


@function("pu")
def cuEventCreate(found, flags):
    put(found, c_void_p, cards.new(Event(timing=not flags & 2)))


@function("p")
def cuEventDestroy(event):
    cards.forget(event, Event)


@function("pp")
def cuEventRecord(event, stream):
    cards.queues.record(cards.get(event, Event), cards.stream(stream))


@function("p")
def cuEventQuery(event):
    if not cards.queues.asked(cards.get(event, Event)):
        raise DriverError(NOT_READY, "not yet")


@function("p")
def cuEventSynchronize(event):
    found = cards.get(event, Event)
    if found.captured is not None:
        raise DriverError(CAPTURED_EVENT, "an event recorded in a capture is waited for")
    cards.queues.finish(found.operation)


@function("ppp")
def cuEventElapsedTime(milliseconds, first, last):
    one, two = cards.get(first, Event), cards.get(last, Event)
    if not (one.timing and two.timing and one.operation and two.operation):
        raise DriverError(INVALID_HANDLE, "an event without timing, or never recorded")
    if not (one.operation.done and two.operation.done):
        raise DriverError(NOT_READY, "not yet")
    put(milliseconds, c_float, 1e3 * (two.operation.time - one.operation.time))


