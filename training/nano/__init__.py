"""The nano base: a KORMo-layout model of a few million parameters, trained here from scratch."""
