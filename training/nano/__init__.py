"""The nano base: a KORMo-layout model of 3.7 million parameters, trained here from scratch."""
