{{- define "hallpass.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hallpass.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "hallpass.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hallpass.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hallpass.selector" -}}
app.kubernetes.io/name: {{ include "hallpass.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of everything but pods: a dict of root and component. */}}
{{- define "hallpass.labels" -}}
{{ include "hallpass.selector" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hallpass.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "hallpass.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "hallpass.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A value as TOML. JSON's strings are TOML's; Helm reads every number as a float, and the schema lets only whole ones in. */}}
{{- define "hallpass.toml" -}}
{{- if kindIs "string" . -}}
{{- toRawJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}
{{- range . }}{{ $parts = append $parts (include "hallpass.toml" .) }}{{ end -}}
[{{ join ", " $parts }}]
{{- else if kindIs "map" . -}}
{{- $parts := list -}}
{{- range $key, $value := . }}{{ $parts = append $parts (printf "%s = %s" $key (include "hallpass.toml" $value)) }}{{ end -}}
{ {{ join ", " $parts }} }
{{- else -}}
{{- int64 . -}}
{{- end -}}
{{- end -}}

{{/* A section's keys, one a line. */}}
{{- define "hallpass.tomlKeys" -}}
{{- range $key, $value := . }}
{{ $key }} = {{ include "hallpass.toml" $value }}
{{- end }}
{{- end -}}

{{/* The store's URL for a role: a dict of root and user. The password is never in it. */}}
{{- define "hallpass.storeUrl" -}}
{{- with .root.Values.database -}}
postgres://{{ $.user }}@{{ .host }}:{{ int .port }}/{{ .name }}?sslmode=verify-full
{{- if .ca }}&sslrootcert=/etc/hallpass/database-ca/ca.crt{{ end -}}
{{- end -}}
{{- end -}}

{{/* hallpass.toml: a dict of root and user (of the database). */}}
{{- define "hallpass.configuration" -}}
{{- $values := .root.Values -}}
[server]
listen = "0.0.0.0:8600"
tls = { cert_file = "/etc/hallpass/tls/tls.crt", key_file = "/etc/hallpass/tls/tls.key" }
{{- if $values.metrics.enabled }}
metrics_listen = "0.0.0.0:{{ int $values.metrics.port }}"
{{- end }}
data_dir = "/var/lib/hallpass/data"
{{- include "hallpass.tomlKeys" $values.config.server }}

[store]
url = {{ include "hallpass.storeUrl" . | toRawJson }}
password = { file = "/etc/hallpass/secrets/database-password" }
{{- include "hallpass.tomlKeys" $values.config.store }}

[keys]
kek = { file = "/etc/hallpass/secrets/kek" }
{{- include "hallpass.tomlKeys" $values.config.keys }}

[policy]
folder = "/etc/hallpass/policies"
{{- include "hallpass.tomlKeys" $values.config.policy }}
{{- with $values.config.intervals }}

[intervals]
{{- include "hallpass.tomlKeys" . }}
{{- end }}
{{- range $values.config.issuers }}

[[issuers]]
{{- include "hallpass.tomlKeys" . }}
{{- end }}
{{- with $values.config.sign_in }}

[sign_in]
{{- if .client_secret }}
client_secret = { file = "/etc/hallpass/secrets/sign-in" }
{{- end }}
{{- include "hallpass.tomlKeys" (omit . "client_secret") }}
{{- end }}
{{- range $index, $backend := $values.config.backends }}

[[backends]]
{{- range $key, $value := $backend }}
{{- if and (kindIs "map" $value) (hasKey $value "secret") }}
{{ $key }} = { file = "/etc/hallpass/secrets/backend-{{ $index }}-{{ $key }}" }
{{- else }}
{{ $key }} = {{ include "hallpass.toml" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- range $index, $channel := $values.config.notify }}

[[notify]]
{{- range $key, $value := $channel }}
{{- if eq $key "secrets" }}
{{ $key }} = [
{{- range $number, $secret := $value }}
  { file = "/etc/hallpass/secrets/notify-{{ $index }}-{{ $key }}-{{ $number }}" },
{{- end }}
]
{{- else if and (kindIs "map" $value) (hasKey $value "secret") }}
{{ $key }} = { file = "/etc/hallpass/secrets/notify-{{ $index }}-{{ $key }}" }
{{- else }}
{{ $key }} = {{ include "hallpass.toml" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- range $index, $server := $values.config.resource_servers }}

[[resource_servers]]
secret = { file = "/etc/hallpass/secrets/resource-server-{{ $index }}" }
{{- include "hallpass.tomlKeys" (omit $server "secret") }}
{{- end }}
{{- with $values.config.access_requests }}

[access_requests]
{{- include "hallpass.tomlKeys" . }}
{{- end }}

[limits]
{{- include "hallpass.tomlKeys" $values.config.limits }}
{{- with $values.config.passkeys }}

[passkeys]
{{- include "hallpass.tomlKeys" . }}
{{- end }}
{{- end -}}

{{- define "hallpass.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Secrets come as files of root that this group may read, which Hallpass accepts as private.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "hallpass.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The source of the database's password for the projected volume: a dict of secret and key. */}}
{{- define "hallpass.passwordSource" -}}
- secret:
    name: {{ .secret }}
    items:
      - key: {{ .key | quote }}
        path: database-password
{{- end -}}

{{- define "hallpass.databaseCaVolume" -}}
{{- with .Values.database.ca -}}
- name: database-ca
  projected:
    defaultMode: 0444
    sources:
      - {{ if .secret }}secret{{ else }}configMap{{ end }}:
          name: {{ default .configMap .secret }}
          items:
            - key: {{ .key | quote }}
              path: ca.crt
{{- end -}}
{{- end -}}

{{/* What the schema cannot say. */}}
{{- define "hallpass.check" -}}
{{- $values := .Values -}}
{{- if and $values.policy.existingConfigMap $values.policy.files -}}
{{- fail "policy: set either policy.existingConfigMap or policy.files, not both" -}}
{{- end -}}
{{- if not (or $values.policy.existingConfigMap $values.policy.files) -}}
{{- fail "policy: there is no policy bundle; name a ConfigMap in policy.existingConfigMap, or give the files with --set-file 'policy.files.agents\\.cedar=policies/agents.cedar' and so on" -}}
{{- end -}}
{{- with $values.database.ca -}}
{{- if or (eq (empty .secret) (empty .configMap)) (not .key) -}}
{{- fail "database.ca: name either a secret or a configMap, and the key under which the certificate is, e.g. { secret: hallpass-database, key: ca.crt }" -}}
{{- end -}}
{{- end -}}
{{- if ne (empty $values.migration.user) (empty $values.migration.password) -}}
{{- fail "migration: set both user and password of the role that owns the tables, or neither" -}}
{{- end -}}
{{- if and $values.ingress.enabled (not $values.ingress.host) -}}
{{- fail "ingress: set ingress.host to the host name of config.server.public_url" -}}
{{- end -}}
{{- if and $values.serviceAccountToken.enabled (not $values.serviceAccountToken.audience) -}}
{{- fail "serviceAccountToken: set the audience for which the token is meant" -}}
{{- end -}}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.egress.database) -}}
{{- fail "networkPolicy: name the database in networkPolicy.egress.database (e.g. - ipBlock: { cidr: 10.1.2.3/32 }), or the broker could not reach it" -}}
{{- end -}}
{{- if and $values.metrics.enabled (eq (int $values.metrics.port) 8600) -}}
{{- fail "metrics.port: 8600 is the API's own port; choose another" -}}
{{- end -}}
{{- range $values.files -}}
{{- if eq (empty .secret) (empty .configMap) -}}
{{- fail (printf "files: `%s` needs either secret or configMap" .path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
