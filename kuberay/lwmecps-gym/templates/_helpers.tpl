{{- define "lwmecps-gym.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters: KubeRay adds suffixes, such as -serve-svc, and cuts names above 50. */}}
{{- define "lwmecps-gym.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "lwmecps-gym.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "lwmecps-gym.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "lwmecps-gym.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "lwmecps-gym.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ include "lwmecps-gym.name" . }}
{{- end }}

{{/*
Labels of the Ray pods. app.kubernetes.io/name is left to KubeRay: the head service of a RayService
selects app.kubernetes.io/name=kuberay and would find no pod under another name.
*/}}
{{- define "lwmecps-gym.raySelectorLabels" -}}
app.kubernetes.io/part-of: {{ include "lwmecps-gym.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: ray
{{- end }}

{{- define "lwmecps-gym.mongodb.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lwmecps-gym.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: mongodb
{{- end }}

{{- define "lwmecps-gym.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "lwmecps-gym.serviceAccountName" -}}
{{- if .Values.kubernetes.serviceAccount.create }}
{{- default (include "lwmecps-gym.fullname" .) .Values.kubernetes.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.kubernetes.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "lwmecps-gym.placementNamespace" -}}
{{ default .Release.Namespace .Values.kubernetes.namespace }}
{{- end }}

{{/* The service that KubeRay makes for a RayService of this name. */}}
{{- define "lwmecps-gym.serveServiceName" -}}
{{ include "lwmecps-gym.fullname" . }}-serve-svc
{{- end }}

{{- define "lwmecps-gym.mongodb.name" -}}
{{ include "lwmecps-gym.fullname" . }}-mongodb
{{- end }}

{{/* "true" when the store is a MongoDB, of the chart or an outside one; else it is SQLite. */}}
{{- define "lwmecps-gym.mongodb.used" -}}
{{- if or .Values.mongodb.enabled .Values.mongodb.externalUrl .Values.mongodb.auth.existingSecret }}true{{ end }}
{{- end }}

{{- define "lwmecps-gym.mongodb.secretName" -}}
{{- default (include "lwmecps-gym.mongodb.name" .) .Values.mongodb.auth.existingSecret }}
{{- end }}

{{- define "lwmecps-gym.mongodb.url" -}}
{{- $host := printf "%s:27017" (include "lwmecps-gym.mongodb.name" .) }}
{{- if .Values.mongodb.externalUrl }}
{{- .Values.mongodb.externalUrl }}
{{- else if .Values.mongodb.auth.enabled }}
{{- printf "mongodb://%s:%s@%s/?authSource=admin" (urlquery .Values.mongodb.auth.username) (urlquery .Values.mongodb.auth.password) $host }}
{{- else }}
{{- printf "mongodb://%s/" $host }}
{{- end }}
{{- end }}

{{/* "true" when a W&B key is at hand. */}}
{{- define "lwmecps-gym.wandb.hasKey" -}}
{{- if and .Values.wandb.enabled (or .Values.wandb.apiKey .Values.wandb.existingSecret) }}true{{ end }}
{{- end }}

{{- define "lwmecps-gym.wandb.secretName" -}}
{{- default (printf "%s-wandb" (include "lwmecps-gym.fullname" .)) .Values.wandb.existingSecret }}
{{- end }}

{{- define "lwmecps-gym.dataClaimName" -}}
{{- default (printf "%s-data" (include "lwmecps-gym.fullname" .)) .Values.training.persistence.existingClaim }}
{{- end }}

{{- define "lwmecps-gym.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}

{{- define "lwmecps-gym.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}
