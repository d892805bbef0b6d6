// An HTTPS server that answers with the port of its client, a moment later.
const https = require('https');
const fs = require('fs');
const server = https.createServer({ key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, (request, response) => {
	const port = request.socket.remotePort;
	setTimeout(() => response.end(`client port ${port}.`), 10);
});
server.listen(0, '127.0.0.1', 512, () => console.log(server.address().port));
