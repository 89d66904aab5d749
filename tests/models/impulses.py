"""Where a decoder puts one pixel of a score layer, for tests of alignment."""

import torch


def centre_of_mass(plane):
    """(row, column) of [H, W]."""
    plane = plane.double()
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in plane.shape)
    return float(plane.sum(1) @ rows / plane.sum()), float(plane.sum(0) @ columns / plane.sum())


def upsampled_impulse(decoder, encoder, score, position, size):
    """Logits where one score layer gives 1 at one position and every other score is 0."""

    def impulse(module, arguments, output):
        output = torch.zeros_like(output)
        output[0, 0, *position] = 1
        return output

    handle = decoder.get_submodule(score).register_forward_hook(impulse)
    with torch.inference_mode():
        logits = decoder(encoder(torch.zeros(1, 3, *size), decoder.needs))
    handle.remove()
    return logits[0, 0]
