"""Every error that Sightline raises on purpose.

    SightlineError
    ├── ConfigError           a configuration file or option that cannot be used
    ├── ContractError         a message that breaks the contract (the stream sends it to dead_letters)
    ├── SourceError           a video, stream or image folder that cannot be read
    ├── StateError            a streaming job's saved state that cannot be read
    ├── ModelError            a model file, card or catalogue entry that cannot be used
    │   ├── ParityError       an engine that does not see what its model sees
    │   └── TrustError        a bundle that must not be used: unsigned, expired, older, damaged, for another target
    ├── RegistryError         the model registry does not answer, refuses, or holds something else than it should
    ├── BrokerError           Kafka does not answer, or refuses
    ├── PortInUseError        another process listens where a service of ours must
    ├── StorageError          a disk or object store that refuses a write
    ├── ToolMissingError      something that the machine must bring is not installed
    ├── DownloadError         a package that could not be fetched, or whose digest is wrong
    └── StageError            a child process of the local stack ended with an error

A message is one line that says what happened, where, and what to do. The command line prints it after ``error:`` and
exits with 1; the stack trace shows with ``--debug`` only.
"""


class SightlineError(Exception):
    """Root of all errors that a user or operator can act on."""


class ConfigError(SightlineError):
    """A configuration file or option that cannot be used."""


class ContractError(SightlineError):
    """A message that breaks the contract."""


class SourceError(SightlineError):
    """A video, stream or image folder that cannot be read."""


class StateError(SightlineError):
    """A streaming job's saved state that cannot be read."""


class ModelError(SightlineError):
    """A model file, card or catalogue entry that cannot be used."""


class ParityError(ModelError):
    """An engine that does not see what its model sees."""


class TrustError(ModelError):
    """A bundle that must not be used: unsigned, expired, older, damaged, or for another target."""


class RegistryError(SightlineError):
    """The model registry does not answer, refuses, or holds something else than it should."""


class BrokerError(SightlineError):
    """Kafka does not answer, or refuses."""


class PortInUseError(SightlineError):
    """Another process listens where a service of ours must."""


class StorageError(SightlineError):
    """A disk or object store that refuses a write."""


class ToolMissingError(SightlineError):
    """Something that the machine must bring is not installed."""


class DownloadError(SightlineError):
    """A package that could not be fetched, or whose digest is wrong."""


class StageError(SightlineError):
    """A child process of the local stack ended with an error."""
