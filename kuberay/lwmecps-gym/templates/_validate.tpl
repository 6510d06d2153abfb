{{/*
What the schema cannot say: values that are each right and wrong together. Included once, by the
RayService; prints nothing or fails with what to do.
*/}}
{{- define "lwmecps-gym.validate" -}}
{{- $mongodb := .Values.mongodb }}
{{- $persistence := .Values.training.persistence }}
{{- if and $mongodb.enabled $mongodb.externalUrl }}
{{- fail "mongodb.enabled and mongodb.externalUrl are both set: choose the chart's MongoDB or an outside one." }}
{{- end }}
{{- if and $mongodb.externalUrl $mongodb.auth.existingSecret }}
{{- fail "mongodb.externalUrl and mongodb.auth.existingSecret are both set: put the URL in one of them." }}
{{- end }}
{{- if and $mongodb.enabled $mongodb.auth.enabled (not $mongodb.auth.password) (not $mongodb.auth.existingSecret) }}
{{- fail "mongodb.auth.enabled needs a password, and there is no default one: set mongodb.auth.password, or mongodb.auth.existingSecret with the keys password and url." }}
{{- end }}
{{- if and .Values.wandb.enabled (eq .Values.wandb.mode "online") (not (include "lwmecps-gym.wandb.hasKey" .)) }}
{{- fail "wandb.mode is online and there is no key: set wandb.apiKey, or wandb.existingSecret with the key api-key, or wandb.mode=offline." }}
{{- end }}
{{- if .Values.ray.workers.enabled }}
{{- if not (include "lwmecps-gym.mongodb.used" .) }}
{{- fail "ray.workers.enabled needs MongoDB, because the embedded store serves one machine: set mongodb.enabled, mongodb.externalUrl or mongodb.auth.existingSecret." }}
{{- end }}
{{- if not (and $persistence.enabled (eq $persistence.accessMode "ReadWriteMany")) }}
{{- fail "ray.workers.enabled needs a data folder that all Ray pods share: set training.persistence.enabled=true and training.persistence.accessMode=ReadWriteMany." }}
{{- end }}
{{- if gt (int .Values.ray.workers.minReplicas) (int .Values.ray.workers.maxReplicas) }}
{{- fail (printf "ray.workers.minReplicas (%d) is above ray.workers.maxReplicas (%d)." (int .Values.ray.workers.minReplicas) (int .Values.ray.workers.maxReplicas)) }}
{{- end }}
{{- else if .Values.ray.autoscaling.enabled }}
{{- fail "ray.autoscaling.enabled has nothing to scale: set ray.workers.enabled=true." }}
{{- end }}
{{- if and .Values.serviceMonitor.apiKeySecret .Values.auth.allowedHosts }}
{{- fail "serviceMonitor.apiKeySecret and auth.allowedHosts are both set: Prometheus asks pods by their addresses, which are none of these names; leave one of them out." }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "ingress.enabled needs ingress.host, the name under which the API is reached." }}
{{- end }}
{{- end }}
