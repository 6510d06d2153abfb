{{/*
Ray Serve's own settings, as `lwmecps serve` has them: HAProxy hands requests straight to a replica.
How long a replica drains is left to Serve, because other nodes' proxies have to learn that it goes.
*/}}
{{- define "lwmecps-gym.serveEnv" -}}
- {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
- {name: RAY_SERVE_THROUGHPUT_OPTIMIZED, value: "1"}
- {name: RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP, value: "1"}
- {name: RAY_SERVE_HAPROXY_METRICS_ENABLED, value: "0"}
{{- end }}

{{/* "true" where Prometheus can read the API's metrics: it has a key, or none is asked for. */}}
{{- define "lwmecps-gym.scrapesApi" -}}
{{- $monitor := .Values.serviceMonitor }}
{{- if and $monitor.enabled (not .Values.auth.allowedHosts) (or $monitor.apiKeySecret (eq .Values.auth.mode "off")) }}true{{ end }}
{{- end }}

{{/* Settings of the program, by the names that it reads; secrets only by reference. */}}
{{- define "lwmecps-gym.env" -}}
{{- include "lwmecps-gym.serveEnv" . }}
- name: LWMECPS_DATA_DIR
  value: /var/lib/lwmecps
- name: LWMECPS_MAX_CONCURRENT_TRAININGS
  value: {{ .Values.training.maxConcurrent | quote }}
- name: LWMECPS_KUBERNETES_NAMESPACE
  value: {{ include "lwmecps-gym.placementNamespace" . | quote }}
- name: LWMECPS_AUTH
  value: {{ .Values.auth.mode }}
{{- with .Values.auth.allowedHosts }}
- name: LWMECPS_ALLOWED_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.auth.existingSecret }}
- name: LWMECPS_ADMIN_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: admin-key
{{- end }}
{{- if include "lwmecps-gym.mongodb.used" . }}
- name: LWMECPS_MONGODB_DATABASE
  value: {{ .Values.mongodb.auth.database | quote }}
- name: MONGODB_URL
  valueFrom:
    secretKeyRef:
      name: {{ include "lwmecps-gym.mongodb.secretName" . }}
      key: url
{{- end }}
{{- if .Values.wandb.enabled }}
- name: WANDB_PROJECT
  value: {{ .Values.wandb.project | quote }}
{{- if .Values.wandb.mode }}
- name: WANDB_MODE
  value: {{ .Values.wandb.mode | quote }}
{{- end }}
{{- if include "lwmecps-gym.wandb.hasKey" . }}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "lwmecps-gym.wandb.secretName" . }}
      key: api-key
{{- end }}
{{- else }}
- name: WANDB_MODE
  value: disabled
{{- end }}
{{- end }}

{{/*
A volume that one node at a time can mount: an upgrade runs the new head beside the old one, so
both have to be on that node.
*/}}
{{- define "lwmecps-gym.singleNodeAffinity" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "lwmecps-gym.raySelectorLabels" . | nindent 10 }}
{{- end }}

{{/*
Pod template of a Ray group. Call with a dict: root (the chart's context), role (head or worker),
group (the values of the group) and resources (of the Ray container).
*/}}
{{- define "lwmecps-gym.rayPod" -}}
{{- $root := .root }}
{{- $persistence := $root.Values.training.persistence }}
metadata:
  labels:
    {{- include "lwmecps-gym.raySelectorLabels" $root | nindent 4 }}
  annotations:
    checksum/secrets: {{ include "lwmecps-gym.secretsChecksum" $root }}
spec:
  serviceAccountName: {{ include "lwmecps-gym.serviceAccountName" $root }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "lwmecps-gym.podSecurityContext" 1000 | nindent 4 }}
  containers:
    - name: ray-{{ .role }}
      image: {{ include "lwmecps-gym.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      securityContext:
        {{- include "lwmecps-gym.containerSecurityContext" $root | nindent 8 }}
      ports:
        {{- if eq .role "head" }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        {{- end }}
        - {name: metrics, containerPort: 8080}
        - {name: serve, containerPort: 8000}
      env:
        {{- include "lwmecps-gym.env" $root | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/lwmecps}
  volumes:
    - name: data
      {{- if $persistence.enabled }}
      persistentVolumeClaim:
        claimName: {{ include "lwmecps-gym.dataClaimName" $root }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $persistence.size }}
      {{- end }}
  {{- with .group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .group.affinity }}
  affinity:
    {{- toYaml .group.affinity | nindent 4 }}
  {{- else if and $persistence.enabled (eq $persistence.accessMode "ReadWriteOnce") }}
  affinity:
    {{- include "lwmecps-gym.singleNodeAffinity" $root | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Changes with the secrets in the values, so that a new password or key reaches the pods. */}}
{{- define "lwmecps-gym.secretsChecksum" -}}
{{- printf "%s %s" (include "lwmecps-gym.mongodb.url" .) .Values.wandb.apiKey | sha256sum }}
{{- end }}

{{/* The Serve configuration, in the format of `serve deploy`. */}}
{{- define "lwmecps-gym.serveConfig" -}}
proxy_location: EveryNode
http_options:
  host: 0.0.0.0
  port: 8000
applications:
  - name: lwmecps
    route_prefix: /
    import_path: lwmecps_gym.serve_app.app:build
    deployments:
      - name: Api
        num_replicas: {{ .Values.serve.numReplicas }}
        ray_actor_options:
          num_cpus: {{ .Values.serve.resources.numCpus }}
      # Always one, because it counts what the models are asked.
      - name: PolicyServer
        num_replicas: 1
        ray_actor_options:
          num_cpus: {{ .Values.serve.resources.numCpus }}
{{- end }}
