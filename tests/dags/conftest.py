from tests.batch_house import batch_house, batch_use_case

__all__ = ["batch_house", "batch_use_case"]
