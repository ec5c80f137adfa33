"""Remote calls as SOAP 1.1: an interface described in WSDL, typed messages, typed faults."""
