"""The crop model: backbones, heatmap heads, scale recovery. Keras 3 only, on any backend."""
