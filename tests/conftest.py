"""What every test of this project may ask for."""

pytest_plugins = ("tests.stores",)
