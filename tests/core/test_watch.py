"""The first failure counts, is told once to each listener, and expected ones are left to others."""

from concurrent.futures import Future

from feedgen.core.watch import Watch


def failed(error: BaseException) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future


def test_the_first_failure_counts() -> None:
    watch, heard = Watch(), list[BaseException]()
    watch.listen(heard.append)
    done: Future[None] = Future()
    done.set_result(None)
    cancelled: Future[None] = Future()
    cancelled.cancel()
    for future in (done, cancelled, failed(OSError())):
        watch.over(future, expected=(OSError,))
    assert watch.failure is None
    first = ValueError()
    later: Future[None] = Future()
    watch.over(later)
    later.set_exception(first)
    watch.over(failed(OSError()))
    assert watch.failure is first and heard == [first]


def test_a_listener_that_comes_late_hears_it() -> None:
    watch, heard = Watch(), list[BaseException]()
    watch.failed(first := KeyError())
    watch.listen(heard.append)
    assert heard == [first]
