"""A flash sale in virtual time: the real functions on a model of AWS that conflicts and throttles."""
