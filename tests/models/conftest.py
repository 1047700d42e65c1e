from tests.batch_house import java

__all__ = ["java"]
