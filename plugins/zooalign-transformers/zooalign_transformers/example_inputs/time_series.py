"""Series of numbers, and arrays of them."""

import torch

from zooalign_transformers.example_inputs.basic import InputRequest, Inputs

__all__ = [
    "input_arrays",
    "past_and_future_values",
    "past_values",
    "past_values_and_padding",
    "past_values_of_one_channel",
    "states_and_actions",
]


def past_and_future_values(request: InputRequest) -> Inputs:
    """A series with its past, as long as its longest lag asks for."""
    past = request.config.context_length + max(request.config.lags_sequence)
    return {
        "past_values": request.normal(request.batch, past),
        "past_time_features": request.normal(request.batch, past, request.config.num_time_features),
        "past_observed_mask": torch.ones((request.batch, past)),
        "future_values": request.normal(request.batch, request.config.prediction_length),
        "future_time_features": request.normal(
            request.batch, request.config.prediction_length, request.config.num_time_features
        ),
    }


def past_values(request: InputRequest) -> Inputs:
    """The past of a series of several channels."""
    channels = getattr(request.config, "num_input_channels", 1)
    return {"past_values": request.normal(request.batch, request.config.context_length, channels)}


def past_values_and_padding(request: InputRequest) -> Inputs:
    """A series, which of it is padding, and how often it was measured."""
    length = request.config.context_length
    return {
        "past_values": request.normal(request.batch, length),
        "past_values_padding": torch.zeros((request.batch, length), dtype=torch.long),
        "freq": torch.zeros((request.batch, 1), dtype=torch.long),
    }


def past_values_of_one_channel(request: InputRequest) -> Inputs:
    """The past of a series of one channel."""
    return {"past_values": request.normal(request.batch, request.config.context_length)}


def states_and_actions(request: InputRequest) -> Inputs:
    """Five steps of states, actions and returns."""
    return {
        "states": request.normal(request.batch, 5, request.config.state_dim),
        "actions": request.normal(request.batch, 5, request.config.act_dim),
        "rewards": request.normal(request.batch, 5, 1),
        "returns_to_go": request.normal(request.batch, 5, 1),
        "timesteps": torch.arange(5).expand(request.batch, 5).contiguous(),
        "attention_mask": torch.ones((request.batch, 5), dtype=torch.long),
    }


def input_arrays(request: InputRequest) -> Inputs:
    """An array of seven rows."""
    return {"inputs": request.normal(request.batch, 7, request.config.d_model)}
