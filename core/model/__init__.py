"""What a method may ask of a model: contracts in shapes and units, names of blocks and taps, keys and values, the readout head."""
