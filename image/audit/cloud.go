package audit

import "github.com/resflash/resflash/image/lazyregexp"

var cloudFamily = family{
	name: "cloud", title: "Clouds, clusters and vendors",
	checks: []check{
		entries(cloudInitInstance, "state of an instance", nil, "/var/lib/cloud/{instance,instances/*,data/*,sem/*}"),
		present(cloudInitSeed, "a seed", "/var/lib/cloud/seed/*/*"),
		present(cloudInitGenerated, "made by cloud-init for an instance", "/etc/netplan/50-cloud-init.yaml", "/etc/NetworkManager/conf.d/{99-cloud-init,30-cloud-init-ip6-addr-gen-mode}.conf",
			"/etc/NetworkManager/system-connections/cloud-init-*.nmconnection", "/etc/systemd/network/10-cloud-init-*.network", "/etc/network/interfaces.d/50-cloud-init{,.cfg}", "/etc/ssh/sshd_config.d/50-cloud-init.conf"),
		entries(cloudInitBlocked, "keeps cloud-init from working", nil, "/etc/cloud/cloud-init.disabled", "/etc/cloud/cloud.cfg.d/{99-installer.cfg,subiquity-disable-*}", "/etc/cloud/ds-identify.cfg"),
		presentIf(cloudAgentState, "state of an agent", (*scan).agentState, "/var/lib/waagent/{ovf-env.xml,GoalState.*,*.crt,*.prv,provisioned,SharedConfig.xml}", "/var/lib/amazon/ssm/{Vault/Store/*,registration}", "/var/lib/google/*.{json,state}", "/etc/google_instance_id", "/var/lib/oracle-cloud-agent/*"),
		secrets(subscriptionIdentity, "registration", "/etc/pki/{consumer,entitlement}/*.pem", "/etc/sysconfig/rhn/systemid", "/var/lib/ubuntu-advantage/private/machine-token.json", "/etc/zypp/credentials.d/SCCcredentials", "/var/lib/landscape/client/broker.bpickle", "/var/lib/snapd/device/private-keys-v1/*"),
		secretsIf(orchestratorIdentity, "identity in a cluster", (*scan).clusterNode, "/var/lib/kubelet/pki/*.{pem,key}", "/etc/kubernetes/{admin,kubelet,controller-manager,scheduler,super-admin,bootstrap-kubelet}.conf", "/etc/kubernetes/pki/*.key", "/var/lib/etcd/member/snap/db",
			"/var/lib/rancher/{k3s,rke2}/server/{token,node-token}", "/etc/rancher/node/password", "/{var/lib,opt}/consul/node-id", "/var/lib/nomad/client/{client-id,secret-id}", "/var/lib/teleport/host_uuid", "/var/lib/docker/engine-id", "/etc/docker/key.json", "/var/lib/docker/swarm/certificates/*.key"),
		{rules: []*Rule{cloudCredentials}, look: lookCloudCredentials},
		matching(telemetryID, pattern{files: []string{"/etc/popularity-contest.conf"}, comment: "#", line: lazyregexp.New(`^MY_HOSTID=["']?[0-9a-f]`), message: "an identifier of the machine", unique: "identifier"}),
		secrets(telemetryID, "identifier of the machine", "/var/lib/whoopsie/whoopsie-id", "/var/lib/yum/uuid", "/etc/smolt/hw-uuid", "/etc/sysconfig/hw-uuid", "/var/lib/apport/*-id"),
		secrets(dbIdentity, "identity of a database", "/var/lib/{postgresql,pgsql}/*/{main,data}/global/pg_control", "/var/lib/pgsql/data/global/pg_control", "/var/lib/mysql/auto.cnf", "/var/lib/mongodb/storage.bson", "/var/lib/elasticsearch/{node_state/*,nodes/*}"),
	},
}

// credentialLines are files of homes that have credentials or have none.
var credentialLines = []struct {
	name string
	re   *lazyregexp.Regexp
}{
	{"/.docker/config.json", lazyregexp.New(`"(auth|identitytoken)"\s*:\s*"[^"]`)},
	{"/.netrc", lazyregexp.New(`\bpassword\s+\S`)},
	{"/.npmrc", lazyregexp.New(`_(auth|authToken|password)\s*=\s*\S`)},
	{"/.pypirc", lazyregexp.New(`(?m)^\s*password\s*[=:]\s*\S`)},
}

var (
	cloudInitInstance = &Rule{
		ID: "cloud-init-instance", Title: "cloud-init remembers an instance",
		Systems: Any, Severity: Error,
		Reason:   "User data of the build, with its secrets, is in the image, and what was done once is not done again.",
		Evidence: "/var/lib/cloud/{instance,instances,data,sem}",
		Fix:      safe(Remove, "remove it, as cloud-init clean does"), Reference: "cloud-init clean",
	}
	cloudInitSeed = &Rule{
		ID: "cloud-init-seed", Title: "a seed of cloud-init is stored",
		Systems: Any, Severity: Warning,
		Reason:   "Every machine is set up from it instead of from its own data.",
		Evidence: "/var/lib/cloud/seed",
		Fix:      optIn(Remove, "remove it, unless it is intended"), Reference: "cloud-init, NoCloud",
	}
	cloudInitGenerated = &Rule{
		ID: "cloud-init-generated", Title: "cloud-init has written a configuration",
		Systems: Any, Severity: Warning,
		Reason:   "It was made for the network and the users of the build.",
		Evidence: "netplan, NetworkManager, networkd, interfaces.d and sshd_config.d with cloud-init in their names",
		Fix:      safe(Remove, "remove it, as cloud-init clean --configs all does"), Reference: "cloud-init clean",
	}
	cloudInitBlocked = &Rule{
		ID: "cloud-init-blocked", Title: "cloud-init is installed and kept from working",
		Systems: Linux, Severity: Warning,
		Reason:   "An installer has left it disabled, or with a fixed data source: keys and users do not arrive.",
		Evidence: "cloud-init.disabled, 99-installer.cfg, subiquity-disable-*, ds-identify.cfg",
		Fix:      report("remove the file, unless it is intended"), Reference: "cloud-init",
	}
	cloudAgentState = &Rule{
		ID: "cloud-agent-state", Title: "an agent of a cloud has state",
		Systems: Any, Severity: Warning,
		Reason:   "Registrations and certificates of the build's machine are used by all.",
		Evidence: "waagent, SSM, Google's and Oracle's agents",
		Fix:      provided("the agent registers anew", Remove, "remove it"),
	}
	subscriptionIdentity = &Rule{
		ID: "subscription-identity", Title: "the system is registered",
		Systems: Linux, Severity: Error,
		Reason:   "All machines use one subscription, and whoever has the image can.",
		Evidence: "Red Hat consumer and entitlement certificates, Ubuntu Pro, SUSE Customer Center, Landscape, keys of snapd's device",
		Fix:      optIn(Remove, "unregister, or remove it"),
	}
	orchestratorIdentity = &Rule{
		ID: "orchestrator-identity", Title: "the machine is a member of a cluster",
		Systems: Linux, Severity: Error,
		Reason:   "All machines are one node, and whoever has the image can join or command the cluster.",
		Evidence: "kubelet, kubeadm, etcd, k3s, Consul, Nomad, Teleport, Docker",
		Fix:      provided("the node joins anew", Remove, "remove it"),
	}
	cloudCredentials = &Rule{
		ID: "cloud-credentials", Title: "credentials of a user are stored",
		Systems: Any, Severity: Error,
		Reason:   "They open accounts of whoever built the image.",
		Evidence: ".aws, gcloud, .azure, .kube, .docker, .netrc, .npmrc, .pypirc, .git-credentials, gh, Vault, rclone in all homes",
		Fix:      safe(Remove, "remove it and revoke it"),
	}
	telemetryID = &Rule{
		ID: "telemetry-id", Title: "an identifier for statistics is stored",
		Systems: Linux, Severity: Warning,
		Reason:   "All machines are counted as one, and can be told to come from this image.",
		Evidence: "popularity-contest, whoopsie, yum, smolt",
		Fix:      safe(Edit, "remove it: it is made anew"),
	}
	dbIdentity = &Rule{
		ID: "db-identity", Title: "a database has an identity",
		Systems: Any, Severity: Warning,
		Reason:   "Replicas with one identifier refuse or confuse each other.",
		Evidence: "pg_control of PostgreSQL, auto.cnf of MySQL, MongoDB, Elasticsearch",
		Fix:      report("initialise the database on each machine"),
	}
)

func lookCloudCredentials(s *scan) {
	homes := s.homes()
	for _, f := range s.files(below(homes, "/.aws/credentials", "/.config/gcloud/{credentials.db,application_default_credentials.json,access_tokens.db}",
		"/.azure/{accessTokens.json,msal_token_cache.*,service_principal_entries.*}", "/.kube/config", "/.config/containers/auth.json", "/.git-credentials", "/.config/gh/hosts.yml", "/.vault-token", "/.config/rclone/rclone.conf")...) {
		if f.filled() {
			s.found(cloudCredentials, f, "credentials", guessable("credentials", s.text(f)))
		}
	}
	for _, c := range credentialLines {
		for _, f := range s.files(below(homes, c.name)...) {
			if c.re.MatchString(s.text(f)) {
				s.found(cloudCredentials, f, "credentials", guessable("credentials", s.text(f)))
			}
		}
	}
}
