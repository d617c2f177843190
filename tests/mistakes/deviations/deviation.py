"""A deviation: one thing that a port does differently."""

from dataclasses import dataclass
from types import MethodType

from port.recording import site_of


@dataclass(frozen=True)
class Deviation:
    """One mistake of a port, as data."""

    name: str
    operation: str
    says: str
    """What the port does, as a sentence without its subject: "divides by the mean of |x|"."""
    label: str
    """The class of deviations that are algebraically equal to this one. They give the same recording."""
    site: str
    """The first wrong site: its name in the layer; with +1: before it, in the next layer; or a site's full name."""
    at: str
    """Where it can be planted: `layers`, `ends` or `order`."""
    changes: dict
    """For layers and ends: method or attribute of `Operations` → its replacement, a function of the operations
    object and the method's arguments, or the attribute's value. For `order`: `order` → a function of the list of
    layer numbers and the chosen layer."""
    model: str

    def first_wrong(self, layer, layers):
        """The full name of the first wrong site if planted in `layer` of `layers`."""
        if self.site.startswith(("model.", "lm_head")):
            return self.site
        if not self.site.startswith("+1:"):
            return site_of(layer, self.site)
        return site_of(layer + 1, self.site[3:]) if layer + 1 < layers else "model.norm"

    def plant(self, llama, layer=None):
        """Plants it in one layer, or in every layer. The order of the layers is changed at one place."""
        if self.at == "order":
            llama.order = self.changes["order"](llama.order, 1 if layer is None else layer)
            return
        everywhere = [*llama.layers, llama.ends] if self.at == "layers" else [llama.ends]
        for operations in everywhere if layer is None or self.at == "ends" else [llama.layers[layer]]:
            for name, change in self.changes.items():
                assert hasattr(operations, name), name
                setattr(operations, name, MethodType(change, operations) if callable(change) else change)


def of(operation, site, at="layers"):
    """Returns the function that makes the deviations of one operation, whose output is `site`."""
    default = site

    def deviation(name, says, *, label=None, site=default, model="tiny-llama", **changes):
        label = f"{operation}: {label or says}"
        return Deviation(f"{operation}-{name}", operation, says, label, site, at, changes, model)

    return deviation
