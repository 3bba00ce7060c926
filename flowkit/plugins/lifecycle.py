"""Calling lifecycle hooks: in pluggy's order, and so that none can harm the run or another plugin.

pluggy calls all implementations of a hook in one go and stops at the first that raises. So each implementation is
guarded when its plugin is registered: what it raises is reported under the plugin's name, and pluggy sees a hook that
returned nothing, or a wrapper that did nothing. The order and the wrappers stay pluggy's own.
"""

import contextlib
import inspect
import logging
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from ..errors import PluginError
from .contexts import Context

if TYPE_CHECKING:
    from .manager import PluginManager

__all__ = ["Given", "HookFailure", "HookGuard", "collect", "listener", "tell"]

C = TypeVar("C", bound=Context)

_logger = logging.getLogger("flowkit.plugins")
_REPORTED = (Exception, SystemExit)
"""What a hook may raise without harm. Ctrl-C is the user's and passes."""


@dataclass
class HookFailure:
    """A hook of one plugin that raised.

    Arguments:
        plugin: `distribution:entry_point`.
        version: The version of that distribution.
        hook: The name of the hook.
        error: What it raised, one line.
        traceback: Where it raised that, the first time.
        times: How often.
    """

    plugin: str
    version: str
    hook: str
    error: str
    traceback: str
    times: int = 1

    def __str__(self) -> str:
        return f"plugin {self.plugin} {self.version}: {self.hook} raised {self.error}"


@dataclass(frozen=True)
class Given:
    """What the hook of one plugin gave.

    Arguments:
        plugin: `distribution:entry_point`, and the version.
        items: What it yielded.
        error: Why it yielded nothing, one line; empty if all went well.
    """

    plugin: str
    items: tuple[Any, ...]
    error: str = ""


class HookGuard:
    """Stands around the lifecycle hooks of one plugin.

    Arguments:
        plugin: `distribution:entry_point`.
        version: The version of that distribution.
        strict: Raise a `PluginError` where a hook fails, instead of reporting it.
        failures: Where failures are kept, one for each hook.
    """

    def __init__(self, plugin: str, version: str, strict: bool, failures: list[HookFailure]) -> None:
        self.plugin, self.version, self.strict, self.failures = plugin, version, strict, failures

    def guard(self, implementation: pluggy.HookImpl, context: type[Context]) -> None:
        """From now on, have pluggy call the implementation, which takes such a context, under guard."""
        hook, function = context.hook, implementation.function
        if implementation.wrapper or implementation.hookwrapper:
            guarded = self._wrapper(hook, function)
        elif context.gives:
            guarded = self._giving(hook, function, context.gives)
        elif inspect.isgeneratorfunction(function):
            raise TypeError(f"{hook} yields, so nothing in it would run: mark it hookimpl(wrapper=True)")
        else:
            guarded = self._plain(hook, function)
        implementation.function = guarded  # type: ignore[misc]  # pluggy calls whatever stands here

    def _plain(self, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **keywords: Any) -> Any:
            try:
                return function(*arguments, **keywords)
            except _REPORTED as error:
                self.report(hook, error)

        return guarded

    def _giving(self, hook: str, function: Callable[..., Any], expected: type) -> Callable[..., Given]:
        def guarded(*arguments: Any, **keywords: Any) -> Given:
            plugin = f"{self.plugin} {self.version}"
            try:
                items = tuple(function(*arguments, **keywords) or ())
                for item in items:
                    if not isinstance(item, expected):
                        raise TypeError(f"{hook} yielded {item!r}, not a {expected.__name__}")
            except _REPORTED as error:
                self.report(hook, error)
                return Given(plugin, (), _line(error))
            return Given(plugin, items)

        return guarded

    def _wrapper(self, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **keywords: Any) -> Generator[None, Any, Any]:
            generator = function(*arguments, **keywords)
            try:
                next(generator)
            except _REPORTED as error:
                self.report(hook, _in_words(error, "did not yield"))
                return (yield)
            try:
                result = yield
            except BaseException as passing:  # Ctrl-C, or the PluginError of another plugin: no hook keeps it back
                with contextlib.suppress(BaseException):
                    generator.throw(passing)
                raise
            try:
                generator.send(result)
            except StopIteration as end:
                return end.value
            except _REPORTED as error:
                self.report(hook, error)
            else:
                self.report(hook, RuntimeError("yielded twice"))
            return result

        return guarded

    def report(self, hook: str, error: BaseException) -> None:
        """Say once for each hook that it fails; every time if strict, by raising.

        Raises:
            PluginError: If strict.
        """
        failure = next((known for known in self.failures if (known.plugin, known.hook) == (self.plugin, hook)), None)
        if failure and not self.strict:
            failure.times += 1
            return
        where = "".join(traceback.format_exception(error))
        failure = HookFailure(self.plugin, self.version, hook, _line(error), where)
        self.failures.append(failure)
        if self.strict:
            raise PluginError(str(failure)) from error
        _logger.warning(
            "%s; the run goes on, and this is not said again (--debug or PluginManager.hook_failures shows where, "
            "FLOWKIT_STRICT_PLUGINS=1 stops there)",
            failure,
        )
        _logger.debug("%s", failure.traceback)


def listener(plugins: "PluginManager", context: type[C]) -> Callable[[C], None] | None:
    """What calls the hook of this sort of context, or None if no plugin implements it.

    Look it up once before a loop: then a hook that nobody implements costs nothing there.
    """
    caller: pluggy.HookCaller = getattr(plugins.hooks.hook, context.hook)
    if not caller.get_hookimpls():
        return None

    def call(context: C) -> None:
        caller(context=context)

    return call


def tell(plugins: "PluginManager", context: Context) -> None:
    """Call the hook of a context in every plugin that implements it."""
    if call := listener(plugins, type(context)):
        call(context)


def collect(plugins: "PluginManager", context: Context) -> list[Given]:
    """What every plugin that implements the hook of a context gives, in the order in which they were called."""
    call = getattr(plugins.hooks.hook, context.hook)
    return [given for given in call(context=context) or () if isinstance(given, Given)]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")


def _in_words(error: BaseException, instead: str) -> BaseException:
    """The error, or what a generator that ended too early should have been told."""
    return RuntimeError(instead) if isinstance(error, StopIteration) else error
