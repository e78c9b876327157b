"""A mypy plugin: an attribute that only `torch.nn.Module.__getattr__` knows is of any type.

PyTorch declares it as `Tensor | Module`, which makes an error of every use of a sub-module that
another package (here `sam2`) registered under a name, whatever one does with it.
"""

from collections.abc import Callable

from mypy.plugin import AttributeContext, Plugin
from mypy.types import AnyType, Type, TypeOfAny, UnionType, get_proper_type

MODULE = "torch.nn.modules.module.Module."


def _registered(context: AttributeContext) -> Type:
    kind = get_proper_type(context.default_attr_type)
    if isinstance(kind, UnionType):
        names = {str(get_proper_type(item)) for item in kind.items}
        if names == {"torch._tensor.Tensor", MODULE.rstrip(".")}:
            return AnyType(TypeOfAny.special_form)
    return context.default_attr_type


class TorchModules(Plugin):
    """Answers for attributes of `torch.nn.Module` and leaves everything else to mypy."""

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        """The hook for attributes that mypy looks up on `torch.nn.Module`."""
        return _registered if fullname.startswith(MODULE) else None


def plugin(version: str) -> type[Plugin]:
    """What mypy calls to load the plugin."""
    return TorchModules
