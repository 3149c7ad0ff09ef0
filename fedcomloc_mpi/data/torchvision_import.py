"""Import torchvision, also where its compiled operators do not match torch.

The torchvision wheel of the package index is linked against CUDA. Beside a CPU build of torch its extension
cannot be loaded, so the operator `torchvision::nms` is never registered and `import torchvision` ends with a
RuntimeError, though its data sets, transforms and models need no compiled operator. Declaring the operators'
schemas is enough.
"""

import importlib
import sys
from types import ModuleType

_MISSING_OPERATOR = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# The registration lasts only as long as the object that made it: this reference keeps it alive.
_declared_operators: object | None = None


def import_torchvision() -> ModuleType:
    """Return the module torchvision, imported.

    On a machine where plain `import torchvision` works this does nothing else. Only the RuntimeError named
    above is handled, once; every other error (torchvision missing, another operator missing) is raised as it
    is. Afterwards plain imports of torchvision's submodules work too; calling `torchvision.ops.nms` itself
    raises RuntimeError.
    """
    global _declared_operators
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if str(error) != _MISSING_OPERATOR or _declared_operators is not None:
            raise
    # The failed import leaves submodules behind that hold half a package.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    # Through importlib, because torch declares no types for it.
    library = importlib.import_module("torch.library").Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared_operators = library
    return importlib.import_module("torchvision")
