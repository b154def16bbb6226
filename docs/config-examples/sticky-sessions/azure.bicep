// Front Door: a session stays where it began, by the cookies ASLBSA and ASLBSACORS, whose age cannot be chosen.
// Nothing here checks this file.

param profileName string

resource profile 'Microsoft.Cdn/profiles@2024-02-01' existing = {
  name: profileName
}

resource shop 'Microsoft.Cdn/profiles/originGroups@2024-02-01' = {
  parent: profile
  name: 'shop'
  properties: {
    healthProbeSettings: {
      probePath: '/health'
      probeProtocol: 'Http'
      probeRequestType: 'GET'
      probeIntervalInSeconds: 5
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
      additionalLatencyInMilliseconds: 1000
    }
    sessionAffinityState: 'Enabled'
  }
}

resource a 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: shop
  name: 'a'
  properties: {
    hostName: '10-0-0-1.example.net'
    httpPort: 8080
    priority: 1
    weight: 1
  }
}

resource b 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: shop
  name: 'b'
  properties: {
    hostName: '10-0-0-2.example.net'
    httpPort: 8080
    priority: 1
    weight: 1
  }
}

resource c 'Microsoft.Cdn/profiles/originGroups/origins@2024-02-01' = {
  parent: shop
  name: 'c'
  properties: {
    hostName: '10-0-0-3.example.net'
    httpPort: 8080
    priority: 1
    weight: 1
  }
}
