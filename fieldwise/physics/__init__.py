"""The equations behind the fields, one module a process: truth and loss from one place."""
