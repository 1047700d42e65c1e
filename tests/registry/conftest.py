from tests.house import fresh_house, house, use_case
from tests.registered import altered, elsewhere, nowhere, registered, registry

__all__ = [
    "altered",
    "elsewhere",
    "fresh_house",
    "house",
    "nowhere",
    "registered",
    "registry",
    "use_case",
]
