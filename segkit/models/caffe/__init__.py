"""Released Caffe nets: their weights and layers."""
