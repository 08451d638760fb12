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
INSERT INTO "agents" VALUES('lxc101','agent',1795551785045124,'gateway','{"node":"lxc101","addresses":["10.0.0.153"],"role":"gateway","version":"0.1.0","certificates":[{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043811Z","not_after":"2026-11-25T16:23:05.043824Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}]}');
INSERT INTO "agents" VALUES('lxc102','agent',1795551785057879,'traefik','{"node":"lxc102","addresses":["10.0.0.12"],"role":"traefik","version":"0.1.0","certificates":[{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043846Z","not_after":"2026-11-25T16:23:05.043848Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}]}');
INSERT INTO "agents" VALUES('lxc103','authority',1795551785063128,'authority','{"node":"lxc103","addresses":["10.0.0.10"],"role":"authority","version":"0.1.0","certificates":[]}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE certificates (
	agent VARCHAR(128) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	expires_at BIGINT, 
	document TEXT NOT NULL, 
	PRIMARY KEY (agent, name)
);
INSERT INTO "certificates" VALUES('lxc101','gateway',1795623785043824,'{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043811Z","not_after":"2026-11-25T16:23:05.043824Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}');
INSERT INTO "certificates" VALUES('lxc102','traefik',1795623785043848,'{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043846Z","not_after":"2026-11-25T16:23:05.043848Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}');
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
INSERT INTO "findings" VALUES(1,'lxc103','file:/etc/hosts','traefik.internal.thinkheads.ai','file:lxc103:/etc/hosts',1,1795551785062981,'{"code":"dns.hosts_shadow.authority","severity":"fatal","identifier":"traefik.internal.thinkheads.ai","vantage":"authority","reporter":"lxc103","explanation":"The CA on lxc103 goes to 10.0.0.153 for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","detail":{"hosts":"10.0.0.153","dns":["10.0.0.12"]},"culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":null},"fix":"Remove line 7 of /etc/hosts on lxc103","impact":null}');
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
INSERT INTO "incidents" VALUES('c65ee46fd0ab','file:lxc103:/etc/hosts','open',1795551785063128,1,'{"id":"c65ee46fd0ab","state":"open","code":"dns.hosts_shadow.authority","severity":"fatal","culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":"gateway"},"lines":[{"line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai"}],"victims":[{"identifier":"traefik.internal.thinkheads.ai","node":"lxc102","certificate":"traefik","expires_at":"2026-11-25T16:23:05.043848Z"}],"explanation":"The CA on lxc103 goes to 10.0.0.153 (lxc101, gateway) for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","fix":"Remove line 7 of /etc/hosts on lxc103","confirmed":true,"reporters":["lxc103"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T20:23:05.063128Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":null}');
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
INSERT INTO "outbox" VALUES(1,1,'hook',0,1795551785063128,NULL,NULL,0);
CREATE TABLE parties (
	agent VARCHAR(128) NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	PRIMARY KEY (agent, incident)
);
INSERT INTO "parties" VALUES('lxc102','c65ee46fd0ab');
INSERT INTO "parties" VALUES('lxc103','c65ee46fd0ab');
CREATE TABLE rehearsals (
	identifier VARCHAR(256) NOT NULL, 
	at BIGINT NOT NULL, 
	brokered BOOLEAN NOT NULL, 
	document TEXT NOT NULL, 
	PRIMARY KEY (identifier)
);
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
INSERT INTO "reports" VALUES(1,'lxc101','lxc101-1',1,'inventory',1795551785045124,'{"id":"lxc101-1","agent":"lxc101","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T20:23:05.043836Z","finished_at":"2026-11-24T20:23:05.043836Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc101","addresses":["10.0.0.153"],"role":"gateway","version":"0.1.0","certificates":[{"name":"gateway","identifiers":["nginx.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["nginx.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043811Z","not_after":"2026-11-25T16:23:05.043824Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}]},"count":1}');
INSERT INTO "reports" VALUES(2,'lxc102','lxc102-1',1,'inventory',1795551785057879,'{"id":"lxc102-1","agent":"lxc102","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T20:23:05.043850Z","finished_at":"2026-11-24T20:23:05.043850Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc102","addresses":["10.0.0.12"],"role":"traefik","version":"0.1.0","certificates":[{"name":"traefik","identifiers":["traefik.internal.thinkheads.ai"],"manage":true,"on_disk":{"fingerprint":"abababababababababababababababababababababababababababababababab","serial":"1","identifiers":["traefik.internal.thinkheads.ai"],"not_before":"2026-11-24T16:23:05.043846Z","not_after":"2026-11-25T16:23:05.043848Z","issuer":"CN=Lab"},"served":{"10.0.0.12:443":"abababababababababababababababababababababababababababababababab"},"due_at":null,"last_outcome":null,"last_outcome_at":null}]},"count":1}');
INSERT INTO "reports" VALUES(3,'lxc103','lxc103-1',1,'inventory',1795551785060999,'{"id":"lxc103-1","agent":"lxc103","sequence":1,"kind":"inventory","trigger":"start","started_at":"2026-11-24T20:23:05.043853Z","finished_at":"2026-11-24T20:23:05.043853Z","outcome":"done","scopes":[],"findings":[],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":{"node":"lxc103","addresses":["10.0.0.10"],"role":"authority","version":"0.1.0","certificates":[]},"count":1}');
INSERT INTO "reports" VALUES(4,'lxc103','lxc103-2',2,'watch',1795551785063128,'{"id":"lxc103-2","agent":"lxc103","sequence":2,"kind":"watch","trigger":"start","started_at":"2026-11-24T20:23:05.062981Z","finished_at":"2026-11-24T20:23:05.062981Z","outcome":"found","scopes":["file:/etc/hosts"],"findings":[{"code":"dns.hosts_shadow.authority","severity":"fatal","identifier":"traefik.internal.thinkheads.ai","vantage":"authority","reporter":"lxc103","explanation":"The CA on lxc103 goes to 10.0.0.153 for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","detail":{"hosts":"10.0.0.153","dns":["10.0.0.12"]},"culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":null},"fix":"Remove line 7 of /etc/hosts on lxc103","impact":null}],"certificate":null,"verdicts":{},"rehearsals":[],"changes":[],"inventory":null,"count":1}');
CREATE TABLE scopes (
	agent VARCHAR(128) NOT NULL, 
	scope VARCHAR(1024) NOT NULL, 
	sequence BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	PRIMARY KEY (agent, scope)
);
INSERT INTO "scopes" VALUES('lxc101','inventory',1,1795551785043836);
INSERT INTO "scopes" VALUES('lxc102','inventory',1,1795551785043850);
INSERT INTO "scopes" VALUES('lxc103','inventory',1,1795551785043853);
INSERT INTO "scopes" VALUES('lxc103','file:/etc/hosts',2,1795551785062981);
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
CREATE TABLE transitions (
	number INTEGER NOT NULL, 
	incident VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	at BIGINT NOT NULL, 
	"by" VARCHAR(128), 
	document TEXT NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "transitions" VALUES(1,'c65ee46fd0ab','opened',1795551785063128,NULL,'{"id":"c65ee46fd0ab","state":"open","code":"dns.hosts_shadow.authority","severity":"fatal","culprit":{"node":"lxc103","file":"/etc/hosts","line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai","address":"10.0.0.153","role":"gateway"},"lines":[{"line":7,"text":"10.0.0.153 traefik.internal.thinkheads.ai"}],"victims":[{"identifier":"traefik.internal.thinkheads.ai","node":"lxc102","certificate":"traefik","expires_at":"2026-11-25T16:23:05.043848Z"}],"explanation":"The CA on lxc103 goes to 10.0.0.153 (lxc101, gateway) for traefik.internal.thinkheads.ai, because line 7 of /etc/hosts says so.","fix":"Remove line 7 of /etc/hosts on lxc103","confirmed":true,"reporters":["lxc103"],"owners":{"10.0.0.153":{"node":"lxc101","role":"gateway"}},"opened_at":"2026-11-24T20:23:05.063128Z","acknowledged_at":null,"acknowledged_by":null,"resolved_at":null}');
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
COMMIT;
