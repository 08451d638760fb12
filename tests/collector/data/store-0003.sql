BEGIN TRANSACTION;
CREATE TABLE addresses (
	address VARCHAR(64) NOT NULL, 
	agent VARCHAR(128) NOT NULL, 
	PRIMARY KEY (address, agent)
);
INSERT INTO "addresses" VALUES('10.0.0.153','lxc101');
INSERT INTO "addresses" VALUES('10.0.0.12','lxc102');
INSERT INTO "addresses" VALUES('10.0.0.10','lxc103');
CREATE TABLE agents (
	name VARCHAR(128) NOT NULL, 
	token_role VARCHAR(16) NOT NULL, 
	last_seen BIGINT NOT NULL, 
	role VARCHAR(128), 
	inventory TEXT, 
	PRIMARY KEY (name)
);
INSERT INTO "agents" VALUES('lxc101','agent',1795489215000000,'gateway','{"node":"lxc101","addresses":["10.0.0.153"],"role":"gateway","version":"0.1.0","certificates":[{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}],"resolver":null}');
INSERT INTO "agents" VALUES('lxc102','agent',1795489200000000,'traefik','{"node":"lxc102","addresses":["10.0.0.12"],"role":"traefik","version":"0.1.0","certificates":[{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}],"resolver":null}');
INSERT INTO "agents" VALUES('lxc103','authority',1795489205000000,'authority','{"node":"lxc103","addresses":["10.0.0.10"],"role":"authority","version":"0.1.0","certificates":[],"resolver":null}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE certificates (
	agent VARCHAR(128) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	expires_at BIGINT, 
	document TEXT NOT NULL, issued_at BIGINT, 
	PRIMARY KEY (agent, name)
);
INSERT INTO "certificates" VALUES('lxc101','gateway',1795561200000000,'{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}',1795474800000000);
INSERT INTO "certificates" VALUES('lxc102','traefik',1795561200000000,'{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}',1795474800000000);
CREATE TABLE changes (
	number INTEGER NOT NULL, 
	agent VARCHAR(128) NOT NULL, 
	file VARCHAR(1024) NOT NULL, 
	at BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "changes" VALUES(1,'lxc103','/etc/hosts',1795489205000000,'{"file":"/etc/hosts","exists":true,"removed":[],"added":["10.0.0.153 traefik.internal.thinkheads.ai"],"left_out":0}');
CREATE TABLE findings (
	number INTEGER NOT NULL, 
	agent VARCHAR(128) NOT NULL, 
	scope VARCHAR(1024) NOT NULL, 
	identifier VARCHAR(256), 
	"key" VARCHAR(2048) NOT NULL, 
	is_grave BOOLEAN NOT NULL, 
	at BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "findings" VALUES(1,'lxc103','file:/etc/hosts','traefik.internal.thinkheads.ai','file:lxc103:/etc/hosts',1,1795489205000000,'{"code":"dns.hosts_shadow.authority","severity":"fatal","identifier":"traefik.internal.thinkheads.ai","vantage":"authority","reporter":"lxc103","explanation":"The CA on lxc103 goes to 10.0.0.153 for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","detail":{"hosts":"10.0.0.153","dns":["10.0.0.12"]},"culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":null},"fix":"Remove line 7 of /etc/hosts on lxc103","impact":null}');
CREATE TABLE identifiers (
	identifier VARCHAR(256) NOT NULL, 
	agent VARCHAR(128) NOT NULL, 
	certificate VARCHAR(256) NOT NULL, 
	PRIMARY KEY (identifier, agent, certificate)
);
INSERT INTO "identifiers" VALUES('nginx.internal.thinkheads.ai','lxc101','gateway');
INSERT INTO "identifiers" VALUES('traefik.internal.thinkheads.ai','lxc102','traefik');
CREATE TABLE incidents (
	id VARCHAR(32) NOT NULL, 
	"key" VARCHAR(2048) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	opened_at BIGINT NOT NULL, 
	announced BOOLEAN NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "incidents" VALUES('39bad736c51e','file:lxc103:/etc/hosts','open',1795489205000000,1,'{"id":"39bad736c51e","state":"open","code":"dns.hosts_shadow.authority","severity":"fatal","culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":"gateway"},"lines":[{"line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai"}],"victims":[{"identifier":"traefik.internal.thinkheads.ai","node":"lxc102","certificate":"traefik","expires_at":"2026-11-24T23:00:00Z"}],"explanation":"The CA on lxc103 goes to 10.0.0.153 (lxc101, gateway) for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","fix":"Remove line 7 of /etc/hosts on lxc103","confirmed":true,"reporters":["lxc103"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T03:00:05Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":null,"change":{"node":"lxc103","file":"/etc/hosts","at":"2026-11-24T03:00:05Z","removed":[],"added":["10.0.0.153 traefik.internal.thinkheads.ai"]},"flaps":0}');
INSERT INTO "incidents" VALUES('10e51d819912','code:lxc101:net.refused:nginx.internal.thinkheads.ai','resolved',1795489210000000,1,'{"id":"10e51d819912","state":"resolved","code":"net.refused","severity":"fatal","culprit":{"node":"lxc101","file":null,"line":null,"text":null,"address":"10.0.0.153","role":"gateway"},"lines":[],"victims":[{"identifier":"nginx.internal.thinkheads.ai","node":"lxc101","certificate":"gateway","expires_at":"2026-11-24T23:00:00Z"}],"explanation":"The CA does not get through to 10.0.0.153 (lxc101, gateway) port 80 for nginx.internal.thinkheads.ai.","fix":"From the CA''s node, reach 10.0.0.153 port 80.","confirmed":true,"reporters":["lxc101"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T03:00:10Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":"2026-11-24T03:00:15Z","change":null,"flaps":0}');
CREATE TABLE outbox (
	number INTEGER NOT NULL, 
	transition BIGINT NOT NULL, 
	channel VARCHAR(128) NOT NULL, 
	attempts INTEGER NOT NULL, 
	due_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	failure TEXT, 
	given_up BOOLEAN NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "outbox" VALUES(1,1,'hook',1,1795489210000000,1795489210000000,NULL,0);
INSERT INTO "outbox" VALUES(2,2,'hook',0,1795489210000000,NULL,NULL,0);
INSERT INTO "outbox" VALUES(3,3,'hook',0,1795489215000000,NULL,NULL,0);
CREATE TABLE parties (
	agent VARCHAR(128) NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	PRIMARY KEY (agent, incident)
);
INSERT INTO "parties" VALUES('lxc102','39bad736c51e');
INSERT INTO "parties" VALUES('lxc103','39bad736c51e');
INSERT INTO "parties" VALUES('lxc101','10e51d819912');
CREATE TABLE people (
	name VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	password VARCHAR(256) NOT NULL, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "people" VALUES('ada','operator','scrypt$32768$8$1$pVq8FFIAsM/KjpNwQufZ5w==$cBFBcck1GJCu7yEAuRCk09X2eIMxPDkP7JoLEO/BeVU=',1795489200000000);
CREATE TABLE rehearsals (
	identifier VARCHAR(256) NOT NULL, 
	at BIGINT NOT NULL, 
	brokered BOOLEAN NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (identifier)
);
INSERT INTO "rehearsals" VALUES('traefik.internal.thinkheads.ai',1795489210000000,1,'{"identifier":"traefik.internal.thinkheads.ai","challenge":"http-01","outcome":"failed","at":"2026-11-24T03:00:10Z","planted":true,"node":"lxc103","reason":null,"resolution":{"name":"traefik.internal.thinkheads.ai","order":["files","dns"],"addresses":[{"address":"10.0.0.153","origin":{"source":"hosts","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","nameserver":null,"asked":null,"managed_by":null}}],"hosts":[{"address":"10.0.0.153","origin":{"source":"hosts","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","nameserver":null,"asked":null,"managed_by":null}}],"dns":[{"nameserver":"10.0.0.153","name":"traefik.internal.thinkheads.ai","record":"A","status":"ok","addresses":["10.0.0.12"]}],"nameservers":[],"switch":null,"error":null},"attempts":[{"hops":[{"url":"http://traefik.internal.thinkheads.ai/","name":"traefik.internal.thinkheads.ai","address":"10.0.0.153","port":80,"status":404,"server":"nginx","location":null,"content_type":null,"certificate_names":[],"error":null,"errno":null,"took_ms":0,"is_local":false,"alpn":null}],"matched":false}],"direct":[],"stale":[],"txt":null,"settles_at":null,"libc":null,"authority_flags":[],"proxy":null,"started_by":[],"provisioner":null,"unseen_file":null,"unreadable":[],"owners":{},"testimony":[]}');
CREATE TABLE reports (
	number INTEGER NOT NULL, 
	agent VARCHAR(128) NOT NULL, 
	id VARCHAR(128) NOT NULL, 
	sequence BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	received_at BIGINT NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (number), 
	UNIQUE (agent, id)
);
INSERT INTO "reports" VALUES(1,'lxc101','lxc101-1',1,'inventory',1795489200000000,'{"id":"lxc101-1","agent":"lxc101","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T03:00:00Z","finished_at":"2026-11-24T03:00:00Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc101","addresses":["10.0.0.153"],"role":"gateway","version":"0.1.0","certificates":[{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}],"resolver":null},"count":1}');
INSERT INTO "reports" VALUES(2,'lxc102','lxc102-1',1,'inventory',1795489200000000,'{"id":"lxc102-1","agent":"lxc102","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T03:00:00Z","finished_at":"2026-11-24T03:00:00Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc102","addresses":["10.0.0.12"],"role":"traefik","version":"0.1.0","certificates":[{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-23T23:00:00Z","not_after":"2026-11-24T23:00:00Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}],"resolver":null},"count":1}');
INSERT INTO "reports" VALUES(3,'lxc103','lxc103-1',1,'inventory',1795489200000000,'{"id":"lxc103-1","agent":"lxc103","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T03:00:00Z","finished_at":"2026-11-24T03:00:00Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc103","addresses":["10.0.0.10"],"role":"authority","version":"0.1.0","certificates":[],"resolver":null},"count":1}');
INSERT INTO "reports" VALUES(4,'lxc103','lxc103-2',2,'watch',1795489205000000,'{"id":"lxc103-2","agent":"lxc103","sequence":2,"kind":"watch","trigger":"start","started_at":"2026-11-24T03:00:05Z","finished_at":"2026-11-24T03:00:05Z","outcome":"found","scopes":["file:/etc/hosts"],"findings":[{"code":"dns.hosts_shadow.authority","severity":"fatal","identifier":"traefik.internal.thinkheads.ai","vantage":"authority","reporter":"lxc103","explanation":"The CA on lxc103 goes to 10.0.0.153 for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","detail":{"hosts":"10.0.0.153","dns":["10.0.0.12"]},"culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":null},"fix":"Remove line 7 of /etc/hosts on lxc103","impact":null}],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[{"file":"/etc/hosts","exists":true,"removed":[],"added":["10.0.0.153 traefik.internal.thinkheads.ai"],"left_out":0}],"inventory":null,"count":1}');
INSERT INTO "reports" VALUES(5,'lxc101','lxc101-2',2,'preflight',1795489210000000,'{"id":"lxc101-2","agent":"lxc101","sequence":2,"kind":"preflight","trigger":"start","started_at":"2026-11-24T03:00:10Z","finished_at":"2026-11-24T03:00:10Z","outcome":"found","scopes":["identifier:nginx.internal.thinkheads.ai"],"findings":[{"code":"net.refused","severity":"fatal","identifier":"nginx.internal.thinkheads.ai","vantage":"authority","reporter":"lxc103","explanation":"The CA does not get through to 10.0.0.153 port 80 for nginx.internal.thinkheads.ai.","detail":{},"culprit":{"node":"lxc101","file":null,"line":null,"text":null,"address":"10.0.0.153","role":null},"fix":"From the CA''s node, reach 10.0.0.153 port 80.","impact":null}],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":null,"count":1}');
INSERT INTO "reports" VALUES(6,'lxc101','lxc101-3',3,'preflight',1795489215000000,'{"id":"lxc101-3","agent":"lxc101","sequence":3,"kind":"preflight","trigger":"start","started_at":"2026-11-24T03:00:15Z","finished_at":"2026-11-24T03:00:15Z","outcome":"done","scopes":["identifier:nginx.internal.thinkheads.ai"],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":null,"count":1}');
CREATE TABLE scopes (
	agent VARCHAR(128) NOT NULL, 
	scope VARCHAR(1024) NOT NULL, 
	sequence BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (agent, scope)
);
INSERT INTO "scopes" VALUES('lxc101','inventory',1,1795489200000000);
INSERT INTO "scopes" VALUES('lxc102','inventory',1,1795489200000000);
INSERT INTO "scopes" VALUES('lxc103','inventory',1,1795489200000000);
INSERT INTO "scopes" VALUES('lxc103','file:/etc/hosts',2,1795489205000000);
INSERT INTO "scopes" VALUES('lxc101','identifier:nginx.internal.thinkheads.ai',3,1795489215000000);
CREATE TABLE sessions (
	digest VARCHAR(64) NOT NULL, 
	person VARCHAR(128) NOT NULL, 
	created_at BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "sessions" VALUES('s000000000000000000000000000000000000000000000000000000000000000','ada',1795489215000000,2110849215000000);
CREATE TABLE tokens (
	number INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	created_at BIGINT NOT NULL, 
	revoked_at BIGINT, 
	PRIMARY KEY (number), 
	UNIQUE (digest)
);
INSERT INTO "tokens" VALUES(1,'lxc102','agent','ca2254f8b66deafe9fc937f3ead02e399a9d1277a4a9ba88c9f615335ce1ae09',1795489200000000,NULL);
INSERT INTO "tokens" VALUES(2,'lxc101','agent','x03f365c28b427d012306cc5eac64e3894b9051e3ee8a4bb7f4270a27f168c4d',1795489200000000,NULL);
CREATE TABLE transitions (
	number INTEGER NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	at BIGINT NOT NULL, 
	"by" VARCHAR(128), 
	document TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "transitions" VALUES(1,'39bad736c51e','opened',1795489205000000,NULL,'{"id":"39bad736c51e","state":"open","code":"dns.hosts_shadow.authority","severity":"fatal","culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":"gateway"},"lines":[{"line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai"}],"victims":[{"identifier":"traefik.internal.thinkheads.ai","node":"lxc102","certificate":"traefik","expires_at":"2026-11-24T23:00:00Z"}],"explanation":"The CA on lxc103 goes to 10.0.0.153 (lxc101, gateway) for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","fix":"Remove line 7 of /etc/hosts on lxc103","confirmed":true,"reporters":["lxc103"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T03:00:05Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":null,"change":{"node":"lxc103","file":"/etc/hosts","at":"2026-11-24T03:00:05Z","removed":[],"added":["10.0.0.153 traefik.internal.thinkheads.ai"]},"flaps":0}');
INSERT INTO "transitions" VALUES(2,'10e51d819912','opened',1795489210000000,NULL,'{"id":"10e51d819912","state":"open","code":"net.refused","severity":"fatal","culprit":{"node":"lxc101","file":null,"line":null,"text":null,"address":"10.0.0.153","role":"gateway"},"lines":[],"victims":[{"identifier":"nginx.internal.thinkheads.ai","node":"lxc101","certificate":"gateway","expires_at":"2026-11-24T23:00:00Z"}],"explanation":"The CA does not get through to 10.0.0.153 (lxc101, gateway) port 80 for nginx.internal.thinkheads.ai.","fix":"From the CA''s node, reach 10.0.0.153 port 80.","confirmed":true,"reporters":["lxc101"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T03:00:10Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":null,"change":null,"flaps":0}');
INSERT INTO "transitions" VALUES(3,'10e51d819912','resolved',1795489215000000,NULL,'{"id":"10e51d819912","state":"resolved","code":"net.refused","severity":"fatal","culprit":{"node":"lxc101","file":null,"line":null,"text":null,"address":"10.0.0.153","role":"gateway"},"lines":[],"victims":[{"identifier":"nginx.internal.thinkheads.ai","node":"lxc101","certificate":"gateway","expires_at":"2026-11-24T23:00:00Z"}],"explanation":"The CA does not get through to 10.0.0.153 (lxc101, gateway) port 80 for nginx.internal.thinkheads.ai.","fix":"From the CA''s node, reach 10.0.0.153 port 80.","confirmed":true,"reporters":["lxc101"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T03:00:10Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":"2026-11-24T03:00:15Z","change":null,"flaps":0}');
CREATE INDEX ix_tokens_name ON tokens (name);
CREATE INDEX ix_addresses_agent ON addresses (agent);
CREATE INDEX ix_identifiers_agent ON identifiers (agent);
CREATE INDEX ix_findings_agent_scope ON findings (agent, scope);
CREATE INDEX ix_findings_identifier ON findings (identifier);
CREATE INDEX ix_findings_key ON findings ("key");
CREATE INDEX ix_incidents_key ON incidents ("key");
CREATE INDEX ix_incidents_state ON incidents (state);
CREATE INDEX ix_parties_incident ON parties (incident);
CREATE INDEX ix_transitions_incident ON transitions (incident);
CREATE INDEX ix_outbox_channel ON outbox (channel);
CREATE INDEX ix_changes_agent_at ON changes (agent, at);
CREATE INDEX ix_reports_received_at ON reports (received_at);
CREATE INDEX ix_outbox_transition ON outbox (transition);
CREATE INDEX ix_sessions_person ON sessions (person);
COMMIT;
