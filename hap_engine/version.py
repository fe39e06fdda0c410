"""The version, stated here only: of the package, of run files and of ``hap_engine.__version__``."""

__version__ = "0.1.0"
