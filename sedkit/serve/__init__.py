"""``sedkit serve``: tags and timelines over HTTP, live audio over WebSocket, and a page for people.

``limits``      what a client may ask for
``hosts``       names and addresses of this machine
``refusals``    why a request is refused, as an HTTP status
``analyses``    what a request asks for, and who reads it from a query
``uploads``     the body of a request → a temporary file without a name
``engine``      recordings of all clients through one model
``answers``     results → the body of a response, in any format
``listening``   live audio through a WebSocket
``metrics``     counters for Prometheus
``openapi``     the description of the interface, for programs and for people
``site``        the files of the page
``guard``       token, origin, headers, time limits: what holds for every request
``service``     what clients ask for
``page``        what only the page asks for
``app``         the Starlette application: which address does what
``connections`` connections on which no request arrives, or something else
``server``      uvicorn: sockets, signals, shutdown
``assets/``     the page, which also loads those of ``sedkit.formats.html``
"""
