"""Series of numbers, and arrays of them."""

from typing import Any

import torch
from torch import nn

from zooalign_transformers.inputs import normal

__all__ = ["arrays", "decisions", "forecast", "past", "series", "series_alone"]


def forecast(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """A series with its past, as long as its longest lag asks for."""
    past = config.context_length + max(config.lags_sequence)
    return {
        "past_values": normal(batch, past, generator=generator),
        "past_time_features": normal(batch, past, config.num_time_features, generator=generator),
        "past_observed_mask": torch.ones((batch, past)),
        "future_values": normal(batch, config.prediction_length, generator=generator),
        "future_time_features": normal(
            batch, config.prediction_length, config.num_time_features, generator=generator
        ),
    }


def series(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    channels = getattr(config, "num_input_channels", 1)
    return {"past_values": normal(batch, config.context_length, channels, generator=generator)}


def past(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    """A series, which of it is padding, and how often it was measured."""
    length = config.context_length
    return {
        "past_values": normal(batch, length, generator=generator),
        "past_values_padding": torch.zeros((batch, length), dtype=torch.long),
        "freq": torch.zeros((batch, 1), dtype=torch.long),
    }


def series_alone(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    return {"past_values": normal(batch, config.context_length, generator=generator)}


def decisions(
    model: nn.Module, config: Any, batch: int, generator: torch.Generator
) -> dict[str, Any]:
    """Five steps of states, actions and returns."""
    return {
        "states": normal(batch, 5, config.state_dim, generator=generator),
        "actions": normal(batch, 5, config.act_dim, generator=generator),
        "rewards": normal(batch, 5, 1, generator=generator),
        "returns_to_go": normal(batch, 5, 1, generator=generator),
        "timesteps": torch.arange(5).expand(batch, 5).contiguous(),
        "attention_mask": torch.ones((batch, 5), dtype=torch.long),
    }


def arrays(model: nn.Module, config: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"inputs": normal(batch, 7, config.d_model, generator=generator)}
