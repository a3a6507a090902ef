"""What our HTTP surfaces and clients have in common: problems, bounds, how a request is read, how an application is served.

    problems   errors as RFC 9457 documents; each surface hands in which of its codes has which status
    answers    an answer as bytes, and the headers that belong to it
    bounds     what one request may cost, and one line in the log
    reading    bodies, keys and names of requests
    local      keeps the pages of other sites away from a service on loopback
    addresses  which of a name's addresses may be connected to
    serving    listens, says when it does, and stops in order

Agent and middle server are strangers; this is below both and knows neither.
"""
