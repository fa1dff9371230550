"""Smart Data Models as data, with a catalogue and a validator."""
