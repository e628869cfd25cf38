"""Weather that is carried along and the best forecast of it that there can be; the sun above both."""
