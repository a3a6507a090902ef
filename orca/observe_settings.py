"""How a process is watched: its log, and where its spans go. Read from the environment once; docs/settings.md explains each."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orca_agent.observe.logs import LogFormat, LogLevel


class ObserveSettings(BaseSettings):
    """Each field's variable is ``ORCA_`` and its name, or the alias given. OpenTelemetry's own are read by its library too."""

    model_config = SettingsConfigDict(env_prefix="ORCA_", env_ignore_empty=True, frozen=True, populate_by_name=True)

    log_format: LogFormat = "text"
    log_level: LogLevel = "INFO"
    #: a collector that takes OTLP over HTTP; without one no spans are made
    otlp_endpoint: str | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_ENDPOINT"))
    otlp_traces_endpoint: str | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    #: what the collector wants to be sent, mostly a key
    otlp_headers: SecretStr | None = Field(default=None, validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_HEADERS"))

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        found = urlsplit(value or "http://host")
        if found.scheme not in {"http", "https"} or not found.hostname or found.username is not None:
            raise ValueError("must look like http(s)://host[:port], without a password in it")
        return value

    @property
    def is_tracing(self) -> bool:
        """Whether there is a collector."""
        return self.otlp_endpoint is not None or self.otlp_traces_endpoint is not None

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every secret that is set: each header's value, as it is written and as it is sent."""
        given = "" if self.otlp_headers is None else self.otlp_headers.get_secret_value()
        values = [pair.partition("=")[2].strip() for pair in given.split(",")]
        return tuple(SecretStr(form) for value in values if value for form in {value, unquote(value)})


def passwords_in(*secrets: SecretStr | None) -> tuple[SecretStr, ...]:
    """Return the passwords within secret addresses, because a driver may name one without the address around it."""
    found = []
    for secret in secrets:
        password = None if secret is None else urlsplit(secret.get_secret_value()).password
        if password:
            found += [SecretStr(form) for form in {password, unquote(password)}]
    return tuple(found)
