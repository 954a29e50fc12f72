"""Any audio format, rate and length to blocks of float32 mono at 16 kHz."""
