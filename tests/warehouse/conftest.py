from tests.house import fresh_house, house, until, use_case

__all__ = ["fresh_house", "house", "until", "use_case"]
