"""A store on a time-series server: the accounts stay here, the readings go to InfluxDB or VictoriaMetrics."""
