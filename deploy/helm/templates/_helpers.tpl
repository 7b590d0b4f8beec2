{{- define "conversions.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "conversions.labels" -}}
app.kubernetes.io/name: amazon-conversions-destination
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "conversions.selector" -}}
app.kubernetes.io/name: amazon-conversions-destination
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "conversions.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The security context of a container: unprivileged, read-only. */}}
{{- define "conversions.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "conversions.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Settings that all processes have. */}}
{{- define "conversions.settings" -}}
- {name: APP_ENV, value: production}
- {name: PUBLIC_URL, value: {{ required "publicUrl: the https address of the service" .Values.publicUrl | quote }}}
- {name: ENCRYPTION_KEYS_FILE, value: /run/secrets/encryption_keys}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Settings of the processes that serve and deliver. */}}
{{- define "conversions.amazon" -}}
- {name: DATABASE_URL_FILE, value: /run/secrets/database_url}
- {name: AMAZON_CLIENT_ID, value: {{ required "amazonClientId: the client id of the Amazon application" .Values.amazonClientId | quote }}}
- {name: AMAZON_CLIENT_SECRET_FILE, value: /run/secrets/amazon_client_secret}
{{- end -}}

{{- define "conversions.mounts" -}}
- {name: secrets, mountPath: /run/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .Values.secrets.databaseCa }}
- {name: database-ca, mountPath: /run/ca, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: root, secret. */}}
{{- define "conversions.volumes" -}}
- name: secrets
  secret: {secretName: {{ .secret }}, defaultMode: 0440}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if .root.Values.secrets.databaseCa }}
- name: database-ca
  secret: {secretName: {{ .root.Values.secrets.databaseCa }}}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Arguments: root, role, values. Spread the pods of a role over nodes and zones. */}}
{{- define "conversions.placement" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "conversions.selector" $ | nindent 8 }}
  {{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
