import pytest

from l4f_datagen.models.spec import GeneratorSpec


class TestSpec:
    def test_derived_numbers(self):
        spec = GeneratorSpec(64, {4: 1, 8: 1, 16: 1, 32: 1, 64: 1})
        assert spec.resolutions == [4, 8, 16, 32, 64]
        assert spec.num_ws == 10
        for resolution, num_ws in ((256, 14), (512, 16), (1024, 18)):
            widths = {2**k: 1 for k in range(2, resolution.bit_length())}
            assert GeneratorSpec(resolution, widths).num_ws == num_ws

    @pytest.mark.parametrize("resolution", [0, 8, 24, 2048])
    def test_resolutions_that_are_refused(self, resolution):
        with pytest.raises(ValueError, match=rf"resolution must be one of .*, got {resolution}"):
            GeneratorSpec(resolution, {4: 1, 8: 1})

    @pytest.mark.parametrize("sides", [[4, 8], [4, 8, 16, 32], [4, 16]])
    def test_channels_that_are_refused(self, sides):
        with pytest.raises(ValueError, match=r"channels must name \[4, 8, 16\], got \[4, "):
            GeneratorSpec(16, dict.fromkeys(sides, 1))

    @pytest.mark.parametrize(
        "change", [{"z_dim": 0}, {"w_dim": -1}, {"mapping_layers": 0}, {"channels": {4: 0}}]
    )
    def test_numbers_that_are_refused(self, change):
        channels = {4: 1, 8: 1, 16: 1} | change.pop("channels", {})
        with pytest.raises(ValueError, match=r"widths and depth must be at least 1, got \["):
            GeneratorSpec(16, channels, **change)
