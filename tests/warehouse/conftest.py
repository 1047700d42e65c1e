from tests.house import fresh_house, house, use_case

__all__ = ["fresh_house", "house", "use_case"]
